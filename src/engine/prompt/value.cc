#include "engine/prompt/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "base/utf8.h"
#include "engine/prompt/text.h"

namespace tradewind::engine::prompt {
namespace {

int DepthOf(const Value& value) {
  return value.object() == nullptr ? 0 : value.object()->depth();
}

void CheckDepth(Budget* budget, int depth) {
  if (budget != nullptr && depth > budget->bounds().depth_max) {
    budget->Exhaust(Budget::Bound::kDepth);
  }
}

int64_t Bytes(size_t n) {
  return static_cast<int64_t>(n);
}

constexpr size_t kIndexedDictSize = 8;  // smaller dicts are searched one by one
constexpr size_t kKeyBytesMax =
    1 << 16;  // of a tuple as a key: shared parts of a tuple multiply in its key

}  // namespace

std::string Budget::Message() const {
  switch (exhausted_) {
    case Bound::kNone:
      return "";
    case Bound::kSteps:
      return fmt::format("the template takes more than {} steps", bounds_.steps_max);
    case Bound::kMemory:
      return fmt::format("the template needs more than {} bytes of memory", bounds_.bytes_max);
    case Bound::kOutput:
      return fmt::format("the prompt is longer than {} bytes", bounds_.output_bytes_max);
    case Bound::kDepth:
      return fmt::format("values are nested deeper than {} levels", bounds_.depth_max);
  }
  return "";
}

const Text& Value::text() const {
  return as<Text>();
}
const List& Value::list() const {
  return as<List>();
}
const Dict& Value::dict() const {
  return as<Dict>();
}

UndefinedInfo::UndefinedInfo(Budget* budget, std::string why)
    : Object(budget), message(std::move(why)) {
  charge_.Set(Bytes(sizeof(UndefinedInfo) + message.size()));
}

BigInt::BigInt(Budget* budget, std::string decimal) : Object(budget), digits(std::move(decimal)) {
  charge_.Set(Bytes(sizeof(BigInt) + digits.size()));
}

List::List(Budget* budget, std::vector<Value> values) : Object(budget), items(std::move(values)) {
  for (const Value& item : items) {
    depth_ = std::max(depth_, DepthOf(item));
  }
  ++depth_;
  CheckDepth(budget, depth_);
  charge_.Set(Bytes(sizeof(List) + items.size() * sizeof(Value)));
}

Dict::Dict(Budget* budget, Items entries) : Object(budget) {
  const bool indexed = entries.size() > kIndexedDictSize;
  size_t index_bytes = 0;
  for (auto& [key, value] : entries) {
    depth_ = std::max({depth_, DepthOf(key), DepthOf(value)});
    if (indexed) {
      std::string hash = HashKey(key);
      index_bytes += hash.size() + 96;
      auto [at, fresh] = index_.try_emplace(std::move(hash), static_cast<uint32_t>(items.size()));
      if (!fresh) {
        items[at->second].second = std::move(value);
        continue;
      }
    } else if (const Value* old = Find(key); old != nullptr) {
      *const_cast<Value*>(old) = std::move(value);
      continue;
    }
    items.emplace_back(std::move(key), std::move(value));
  }
  ++depth_;
  CheckDepth(budget, depth_);
  charge_.Set(Bytes(sizeof(Dict) + items.size() * sizeof(items[0]) + index_bytes));
}

const Value* Dict::Find(const Value& key) const {
  if (key.is_string()) {
    return Find(key.text().view());
  }
  const std::string hash = HashKey(key);
  if (hash.empty()) {
    return nullptr;
  }
  if (!index_.empty()) {
    const auto at = index_.find(hash);
    return at == index_.end() ? nullptr : &items[at->second].second;
  }
  for (const auto& [k, v] : items) {
    if (HashKey(k) == hash) {
      return &v;
    }
  }
  return nullptr;
}

const Value* Dict::Find(std::string_view key) const {
  if (!index_.empty()) {
    const auto at = index_.find("s" + std::string(key));
    return at == index_.end() ? nullptr : &items[at->second].second;
  }
  for (const auto& [k, v] : items) {
    if (k.is_string() && k.text().view() == key) {
      return &v;
    }
  }
  return nullptr;
}

DictView::DictView(Budget* budget, Value mapping, Part which)
    : Object(budget), dict(std::move(mapping)), part(which) {
  depth_ = DepthOf(dict) + 1;
  charge_.Set(sizeof(DictView));
}

Range::Range(Budget* budget, int64_t first, int64_t end, int64_t by, bool bounds_from_data)
    : Object(budget), start(first), stop(end), step(by), from_data(bounds_from_data) {
  const __int128 span =
      step > 0 ? static_cast<__int128>(stop) - start : static_cast<__int128>(start) - stop;
  const __int128 stride = step > 0 ? step : -static_cast<__int128>(step);
  const __int128 count = span <= 0 ? 0 : (span + stride - 1) / stride;
  length = static_cast<int64_t>(std::min<__int128>(count, INT64_MAX));
  charge_.Set(sizeof(Range));
}

Iterator::Iterator(Budget* budget, Value iterated, std::string_view type_name)
    : Object(budget), source(std::move(iterated)), type(type_name) {
  depth_ = DepthOf(source) + 1;
  CheckDepth(budget, depth_);
  charge_.Set(sizeof(Iterator));
}

bool Iterator::Next(Value& item) {
  const auto from_dict = [&](const Dict& dict, DictView::Part part) {
    if (position_ >= dict.items.size()) {
      return false;
    }
    const auto& [key, value] = dict.items[position_++];
    item = part == DictView::Part::kKeys     ? key
           : part == DictView::Part::kValues ? value
                                             : MakeTuple(charge_.budget(), {key, value});
    return true;
  };
  switch (source.kind()) {
    case Kind::kString: {
      const Text& text = source.text();
      if (position_ >= text.size()) {
        return false;
      }
      const size_t bytes = static_cast<size_t>(DecodeUtf8(text.view().substr(position_)).bytes);
      // A character of markup is not markup, unlike a slice of it.
      item = MakeText(charge_.budget(), text.view().substr(position_, bytes),
                      text.origin().IsLiteral(position_));
      position_ += bytes;
      return true;
    }
    case Kind::kList:
    case Kind::kTuple:
      if (position_ >= source.list().items.size()) {
        return false;
      }
      item = source.list().items[position_++];
      return true;
    case Kind::kDict:
      return from_dict(source.dict(), DictView::Part::kKeys);
    case Kind::kDictView: {
      const auto& view = source.as<DictView>();
      return from_dict(view.dict.dict(), view.part);
    }
    case Kind::kRange: {
      const auto& range = source.as<Range>();
      if (static_cast<int64_t>(position_) >= range.length) {
        return false;
      }
      item = range.At(static_cast<int64_t>(position_++));
      return true;
    }
    default:
      return false;
  }
}

Namespace::Namespace(Budget* budget) : Object(budget) {
  charge_.Set(sizeof(Namespace));
}

void Namespace::Set(const std::string& name, Value value) {
  attributes.insert_or_assign(name, std::move(value));
  charge_.Set(Bytes(sizeof(Namespace) + attributes.size() * 128));
}

Method::Method(Budget* budget, Value receiver, std::string_view method)
    : Object(budget), self(std::move(receiver)), name(method) {
  depth_ = DepthOf(self) + 1;
  CheckDepth(budget, depth_);
  charge_.Set(sizeof(Method));
}

Cycler::Cycler(Budget* budget, Value values) : Object(budget), items(std::move(values)) {
  depth_ = DepthOf(items) + 1;
  CheckDepth(budget, depth_);
  charge_.Set(sizeof(Cycler));
}

Joiner::Joiner(Budget* budget, Value between) : Object(budget), separator(std::move(between)) {
  depth_ = DepthOf(separator) + 1;
  CheckDepth(budget, depth_);
  charge_.Set(sizeof(Joiner));
}

Value MakeUndefined(Budget* budget, std::string message) {
  return Value(Kind::kUndefined, std::make_shared<UndefinedInfo>(budget, std::move(message)));
}

Value MakeInteger(Budget* budget, std::string_view digits, bool from_data) {
  const bool negative = digits.starts_with('-');
  digits.remove_prefix(negative ? 1 : 0);
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size()));
  std::string canonical = (negative ? "-" : "") + std::string(digits.empty() ? "0" : digits);
  int64_t value = 0;
  if (std::from_chars(canonical.data(), canonical.data() + canonical.size(), value).ec ==
      std::errc()) {
    return Value::Int(value, from_data);
  }
  return Value(Kind::kBigInt, std::make_shared<BigInt>(budget, std::move(canonical)), from_data);
}

Value MakeList(Budget* budget, std::vector<Value> items) {
  return Value(Kind::kList, std::make_shared<List>(budget, std::move(items)));
}

Value MakeTuple(Budget* budget, std::vector<Value> items) {
  return Value(Kind::kTuple, std::make_shared<List>(budget, std::move(items)));
}

Value MakeDict(Budget* budget, Dict::Items items) {
  return Value(Kind::kDict, std::make_shared<Dict>(budget, std::move(items)));
}

Value MakeIterator(Budget* budget, std::vector<Value> items) {
  return Value(Kind::kIterator,
               std::make_shared<Iterator>(budget, MakeList(budget, std::move(items)), "generator"));
}

std::string_view TypeName(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
    case Kind::kBigInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return value.text().markup() ? "Markup" : "str";
    case Kind::kBytes:
      return "bytes";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kDictView: {
      const auto part = value.as<DictView>().part;
      return part == DictView::Part::kKeys     ? "dict_keys"
             : part == DictView::Part::kValues ? "dict_values"
                                               : "dict_items";
    }
    case Kind::kRange:
      return "range";
    case Kind::kIterator:
      return value.as<Iterator>().type;
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kMacro:
      return "Macro";
    case Kind::kMethod:
      return "method";
    case Kind::kFunction:
      return "function";
    case Kind::kCycler:
      return "Cycler";
    case Kind::kJoiner:
      return "Joiner";
  }
  return "object";
}

std::string HashKey(const Value& value) {
  switch (value.kind()) {
    case Kind::kNone:
      return "n";
    case Kind::kBool:
    case Kind::kInt:
      return fmt::format("i{}", value.integer());
    case Kind::kBigInt:
      return "i" + value.as<BigInt>().digits;
    case Kind::kFloat: {
      const double real = value.real();
      if (real == std::floor(real) && std::abs(real) < 9.2e18) {
        return fmt::format("i{}", static_cast<int64_t>(real));
      }
      return fmt::format("f{}", real);
    }
    case Kind::kString:
      return "s" + std::string(value.text().view());
    case Kind::kBytes:
      return "b" + std::string(value.text().view());
    case Kind::kTuple: {
      std::string key = "t";
      for (const Value& item : value.list().items) {
        const std::string part = HashKey(item);
        if (part.empty()) {
          return "";
        }
        key += fmt::format("{}:", part.size()) + part;
        if (key.size() > kKeyBytesMax) {
          return "";
        }
      }
      return key;
    }
    case Kind::kList:
    case Kind::kDict:
    case Kind::kDictView:
      return "";
    case Kind::kUndefined:
      return "u";
    default:
      return fmt::format("o{}", static_cast<const void*>(value.object().get()));
  }
}

}  // namespace tradewind::engine::prompt
