#include "engine/prompt/access.h"

#include <algorithm>

#include "engine/prompt/format.h"
#include "engine/prompt/operators.h"
#include "engine/prompt/unicode.h"

namespace tradewind::engine::prompt {
namespace {

// Attributes that every Python object has: they exist, and the sandbox hides them.
bool IsObjectInternal(std::string_view name) {
  static constexpr std::string_view kNames[] = {"__class__",
                                                "__delattr__",
                                                "__dir__",
                                                "__doc__",
                                                "__eq__",
                                                "__format__",
                                                "__ge__",
                                                "__getattribute__",
                                                "__getstate__",
                                                "__gt__",
                                                "__hash__",
                                                "__init__",
                                                "__init_subclass__",
                                                "__le__",
                                                "__lt__",
                                                "__ne__",
                                                "__new__",
                                                "__reduce__",
                                                "__reduce_ex__",
                                                "__repr__",
                                                "__setattr__",
                                                "__sizeof__",
                                                "__str__",
                                                "__subclasshook__",
                                                "__dict__",
                                                "__module__",
                                                "__globals__",
                                                "__code__",
                                                "__call__",
                                                "__self__",
                                                "__func__",
                                                "__len__",
                                                "__iter__",
                                                "__getitem__",
                                                "__contains__",
                                                "__add__",
                                                "__mul__",
                                                "__mod__"};
  return std::ranges::find(kNames, name) != std::end(kNames);
}

// Methods that would change a list or dict.
bool IsMutator(const Value& object, std::string_view name) {
  static constexpr std::string_view kList[] = {"append", "clear", "pop",    "reverse",
                                               "insert", "sort",  "extend", "remove"};
  static constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  if (object.is(Kind::kList)) {
    return std::ranges::find(kList, name) != std::end(kList);
  }
  return object.is(Kind::kDict) && std::ranges::find(kDict, name) != std::end(kDict);
}

Value Unsafe(Run& run, const Value& object, std::string_view name) {
  return MakeUndefined(
      &run.budget,
      fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, TypeName(object)));
}

std::string DescribeObject(const Value& object) {
  return object.is(Kind::kNone) ? "None" : fmt::format("{} object", TypeName(object));
}

Value NoAttribute(Run& run, const Value& object, std::string_view name) {
  return MakeUndefined(&run.budget,
                       fmt::format("'{}' has no attribute '{}'", DescribeObject(object), name));
}

// The attribute if the object has one. (Absent: nullopt.)
Result<std::optional<Value>> FindAttribute(Run& run, const Value& object, std::string_view name) {
  using Found = std::optional<Value>;
  if (IsObjectInternal(name) || IsMutator(object, name)) {
    return Found(Unsafe(run, object, name));
  }
  const auto method = [&] {
    return Found(Value(Kind::kMethod, std::make_shared<Method>(&run.budget, object, name)));
  };
  switch (object.kind()) {
    case Kind::kUndefined:
      return UndefinedError(object);
    case Kind::kString:
      return StringMethodExists(name) ? method() : Found();
    case Kind::kNamespace: {
      const auto& attributes = object.as<Namespace>().attributes;
      const auto at = attributes.find(name);
      return at == attributes.end() ? Found() : Found(at->second);
    }
    case Kind::kLoop: {
      TW_ASSIGN_OR_RETURN(Value value, GetLoopAttribute(run, object, name));
      return value.is_undefined() && value.object() == nullptr ? Found() : Found(std::move(value));
    }
    case Kind::kMacro: {
      TW_ASSIGN_OR_RETURN(Value value, GetMacroAttribute(run, object, name));
      return value.is_undefined() ? Found() : Found(std::move(value));
    }
    case Kind::kCycler:
      if (name == "current") {
        const auto& cycler = object.as<Cycler>();
        return Found(cycler.items.list().items[cycler.position]);
      }
      return name == "next" || name == "reset" ? method() : Found();
    case Kind::kTuple:
      if (object.list().is_group && (name == "grouper" || name == "list")) {
        return Found(object.list().items[name == "grouper" ? 0 : 1]);
      }
      break;
    default:
      break;
  }
  return ContainerMethodExists(object, name) ? method() : Found();
}

// The element under a key or position. (Absent: nullopt.)
Result<std::optional<Value>> FindItem(Run& run, const Value& object, const Value& key) {
  using Found = std::optional<Value>;
  const auto position = [&](int64_t length) -> std::optional<int64_t> {
    if (!key.is_integral()) {
      return std::nullopt;
    }
    const int64_t i = key.integer() < 0 ? key.integer() + length : key.integer();
    return i >= 0 && i < length ? std::optional(i) : std::nullopt;
  };
  switch (object.kind()) {
    case Kind::kUndefined:
      return UndefinedError(object);
    case Kind::kDict: {
      const Value* value = object.dict().Find(key);
      return value == nullptr ? Found() : Found(*value);
    }
    case Kind::kString:
      if (const auto i = position(object.text().length())) {
        return Found(Slice(&run.budget, object.text(), object.text().ByteOffset(*i),
                           object.text().ByteOffset(*i + 1)));
      }
      return Found();
    case Kind::kList:
    case Kind::kTuple:
      if (const auto i = position(static_cast<int64_t>(object.list().items.size()))) {
        return Found(object.list().items[static_cast<size_t>(*i)]);
      }
      return Found();
    case Kind::kRange:
      if (const auto i = position(object.as<Range>().length)) {
        return Found(object.as<Range>().At(*i));
      }
      return Found();
    default:
      return Found();
  }
}

Result<int64_t> SliceIndex(const Value* part, int64_t otherwise) {
  if (part == nullptr || part->is(Kind::kNone)) {
    return otherwise;
  }
  if (part->is_integral()) {
    return part->integer();
  }
  return part->is_undefined()
             ? UndefinedError(*part)
             : RunError("slice indices must be integers or None, not {}", TypeName(*part));
}

}  // namespace

ValueResult GetAttribute(Run& run, const Value& object, std::string_view name) {
  TW_ASSIGN_OR_RETURN(std::optional<Value> value, FindAttribute(run, object, name));
  if (!value && object.is(Kind::kDict)) {
    const Value* item = object.dict().Find(name);
    value = item == nullptr ? std::nullopt : std::optional(*item);
  }
  return value ? *std::move(value) : NoAttribute(run, object, name);
}

ValueResult GetAttributeOnly(Run& run, const Value& object, std::string_view name) {
  TW_ASSIGN_OR_RETURN(std::optional<Value> value, FindAttribute(run, object, name));
  return value ? *std::move(value) : NoAttribute(run, object, name);
}

ValueResult GetItem(Run& run, const Value& object, const Value& key) {
  TW_ASSIGN_OR_RETURN(std::optional<Value> value, FindItem(run, object, key));
  if (!value && key.is_string()) {
    TW_ASSIGN_OR_RETURN(value, FindAttribute(run, object, key.text().view()));
  }
  if (value) {
    return *std::move(value);
  }
  if (key.is_string()) {
    return NoAttribute(run, object, key.text().view());
  }
  return MakeUndefined(&run.budget, fmt::format("{} has no element {}", DescribeObject(object),
                                                ReprString(run, key)));
}

Result<SliceRange> ResolveSlice(int64_t length, const Value* start, const Value* stop,
                                const Value* step) {
  SliceRange range;
  TW_ASSIGN_OR_RETURN(range.step, SliceIndex(step, 1));
  if (range.step == 0) {
    return RunError("slice step cannot be zero");
  }
  range.step = std::max(range.step, -INT64_MAX);
  const bool forward = range.step > 0;
  const int64_t lowest = forward ? 0 : -1, highest = forward ? length : length - 1;
  const auto clamp = [&](int64_t i) { return std::clamp(i < 0 ? i + length : i, lowest, highest); };
  TW_ASSIGN_OR_RETURN(const int64_t from, SliceIndex(start, forward ? 0 : INT64_MAX));
  range.start = clamp(from);
  range.end = forward ? length : -1;
  if (stop != nullptr && !stop->is(Kind::kNone)) {
    TW_ASSIGN_OR_RETURN(const int64_t to, SliceIndex(stop, 0));
    range.end = clamp(to);
  }
  const int64_t span = forward ? range.end - range.start : range.start - range.end;
  const int64_t stride = forward ? range.step : -range.step;
  range.count = span <= 0 ? 0 : (span - 1) / stride + 1;
  return range;
}

ValueResult GetSlice(Run& run, const Value& object, const Value* start, const Value* stop,
                     const Value* step) {
  if (object.is_undefined()) {
    return UndefinedError(object);
  }
  if (!object.is_string() && !object.is_sequence() && !object.is(Kind::kRange)) {
    return RunError("'{}' object cannot be sliced", TypeName(object));
  }
  TW_ASSIGN_OR_RETURN(const int64_t length, Length(run, object));
  TW_ASSIGN_OR_RETURN(const SliceRange range, ResolveSlice(length, start, stop, step));
  if (object.is(Kind::kRange)) {
    // A range bounded by kRangeLengthMax: positions times its step stay near its own ends.
    const auto& whole = object.as<Range>();
    const auto at = [&](int64_t position) {
      const __int128 value = whole.start + static_cast<__int128>(position) * whole.step;
      return static_cast<int64_t>(std::clamp<__int128>(value, INT64_MIN, INT64_MAX));
    };
    int64_t by = 0;
    if (__builtin_mul_overflow(whole.step, range.step, &by) || by == INT64_MIN) {
      by = range.step > 0 ? INT64_MAX : -INT64_MAX;  // one element is left, or none
    }
    return Value(Kind::kRange, std::make_shared<Range>(&run.budget, at(range.start), at(range.end),
                                                       by, whole.from_data));
  }
  if (object.is_string()) {
    const Text& text = object.text();
    if (range.step == 1) {
      return Slice(&run.budget, text, text.ByteOffset(range.start),
                   text.ByteOffset(range.start + range.count));
    }
    std::vector<uint32_t> offsets;  // of every character
    ForEachChar(text.view(),
                [&](size_t at, size_t, char32_t) { offsets.push_back(static_cast<uint32_t>(at)); });
    offsets.push_back(static_cast<uint32_t>(text.size()));
    run.budget.SpendConversion(static_cast<int64_t>(text.size()));
    TextBuilder builder(&run.budget);
    for (int64_t i = 0; i < range.count; ++i) {
      const auto at = static_cast<size_t>(range.start + i * range.step);
      builder.Append(text, offsets[at], offsets[at + 1]);
    }
    return builder.Finish(text.markup());
  }
  std::vector<Value> items;
  if (run.budget.Fits(range.count * static_cast<int64_t>(sizeof(Value))) &&
      run.budget.SpendCopy(range.count * static_cast<int64_t>(sizeof(Value)))) {
    for (int64_t i = 0; i < range.count; ++i) {
      items.push_back(object.list().items[static_cast<size_t>(range.start + i * range.step)]);
    }
  }
  return object.is(Kind::kList) ? MakeList(&run.budget, std::move(items))
                                : MakeTuple(&run.budget, std::move(items));
}

AttributePath ParsePath(Run& run, const Value& attribute) {
  AttributePath path;
  if (attribute.is(Kind::kNone)) {
    return path;
  }
  if (!attribute.is_string()) {
    path.parts.push_back(attribute);
    return path;
  }
  std::string_view rest = attribute.text().view();
  while (true) {
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    const bool number =
        !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
    path.parts.push_back(number ? MakeInteger(&run.budget, part, false) : run.TextOf(part, false));
    if (dot == std::string_view::npos) {
      return path;
    }
    rest.remove_prefix(dot + 1);
  }
}

ValueResult Follow(Run& run, const AttributePath& path, Value item, const Value* otherwise) {
  for (const Value& part : path.parts) {
    TW_RETURN_IF_ERROR(run.Check());
    TW_ASSIGN_OR_RETURN(item, GetItem(run, item, part));
    if (otherwise != nullptr && !otherwise->is(Kind::kNone) && item.is_undefined()) {
      item = *otherwise;
    }
  }
  return item;
}

bool IsIterable(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kBytes:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kDictView:
    case Kind::kRange:
    case Kind::kIterator:
    case Kind::kLoop:
      return true;
    default:
      return false;
  }
}

Result<std::shared_ptr<Iterator>> Iterate(Run& run, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return std::make_shared<Iterator>(&run.budget, MakeList(&run.budget, {}), "generator");
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kDictView:
    case Kind::kRange:
      return std::make_shared<Iterator>(&run.budget, value, "iterator");
    case Kind::kIterator:
      return std::static_pointer_cast<Iterator>(value.object());
    default:
      return RunError("'{}' object is not iterable", TypeName(value));
  }
}

Result<std::vector<Value>> ToVector(Run& run, const Value& value) {
  TW_ASSIGN_OR_RETURN(const std::shared_ptr<Iterator> each, Iterate(run, value));
  std::vector<Value> items;
  MemoryCharge charge(&run.budget);
  Value item;
  while (run.budget.SpendCopy(64) && each->Next(item)) {
    if (items.size() == items.capacity() &&
        !charge.Set(static_cast<int64_t>((items.size() + 1) * 2 * sizeof(Value)))) {
      break;
    }
    items.push_back(std::move(item));
  }
  TW_RETURN_IF_ERROR(run.Check());
  return items;
}

Result<int64_t> Length(Run&, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return value.text().length();
    case Kind::kBytes:
      return static_cast<int64_t>(value.text().size());
    case Kind::kList:
    case Kind::kTuple:
      return static_cast<int64_t>(value.list().items.size());
    case Kind::kDict:
      return static_cast<int64_t>(value.dict().items.size());
    case Kind::kDictView:
      return static_cast<int64_t>(value.as<DictView>().dict.dict().items.size());
    case Kind::kRange:
      return value.as<Range>().length;
    default:
      return RunError("object of type '{}' has no len()", TypeName(value));
  }
}

}  // namespace tradewind::engine::prompt
