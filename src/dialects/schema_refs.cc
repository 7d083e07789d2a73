#include "dialects/schema_refs.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/string.hpp>

#include "dialects/json_reader.h"

namespace tradewind::dialects {
namespace {

namespace json = boost::json;

constexpr int64_t kIndent = 4;
constexpr int64_t kScalarBytesMax = 24;  // of a double: -1.7976931348623157e+308

// Of values visited, again and again where names lead in circles.
constexpr int64_t kStepsMax = 1 << 20;
// Of values inside each other; these are calls on the stack.
constexpr int kDepthMax = 512;

// As written at no depth, and how many lines get longer where it stands deeper.
struct Size {
  int64_t bytes = 0, lines = 0;

  void Add(const Size& other, int64_t depth) {
    bytes = std::min(kResolvedBytesMax, bytes + other.bytes + depth * kIndent * other.lines);
    lines = std::min(kResolvedBytesMax, lines + other.lines);
  }
  void AddLine(int64_t depth) { Add({1, 1}, depth); }
};

std::string_view View(const json::string& text) {
  return {text.data(), text.size()};
}

// With every character that some writer escapes as an escape.
int64_t TextBytes(std::string_view text) {
  constexpr int64_t kEscaped = 6;  // \u003c
  int64_t bytes = 2;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0xF0) {
      bytes += 2 * kEscaped;
    } else if (byte >= 0xC0 || byte < 0x20 || byte == 0x7F ||
               std::string_view("<>&'").contains(c)) {
      bytes += kEscaped;
    } else {
      bytes += byte >= 0x80 ? 0 : c == '"' || c == '\\' ? 2 : 1;
    }
  }
  return bytes;
}

std::string Unescaped(std::string_view segment) {
  std::string out(segment);
  for (const auto& [from, to] : {std::pair("~1", "/"), std::pair("~0", "~")}) {
    for (size_t at = out.find(from); at != std::string::npos; at = out.find(from, at + 1)) {
      out.replace(at, 2, to);
    }
  }
  return out;
}

// Python counts from the end too.
const json::value* Item(const json::array& items, std::string_view index) {
  int64_t at = 0;
  const char* const end = index.data() + index.size();
  if (std::from_chars(index.data(), end, at).ptr != end || index.empty()) {
    return nullptr;
  }
  const auto size = static_cast<int64_t>(items.size());
  at += at < 0 ? size : 0;
  return at >= 0 && at < size ? &items[static_cast<size_t>(at)] : nullptr;
}

class Resolver {
 public:
  int64_t Run(const json::value& root) {
    Find(root);
    const int64_t bytes = targets_.empty() ? 0 : Of(root).bytes;
    return is_over_ ? kResolvedBytesMax : bytes;
  }

 private:
  bool Step(size_t steps = 1) {
    steps_ += static_cast<int64_t>(steps);
    is_over_ |= steps_ > kStepsMax;
    return !is_over_;
  }

  // What the references below name.
  void Find(const json::value& value) {
    if (!Step()) {
      return;
    }
    if (const json::array* items = value.if_array(); items != nullptr) {
      for (const json::value& item : *items) {
        Find(item);
      }
    } else if (const json::object* object = value.if_object(); object != nullptr) {
      around_.push_back(&value);
      if (const json::value* ref = object->if_contains("$ref"); ref != nullptr) {
        NoteTargets(value, *ref);
      }
      for (const auto& member : *object) {
        Find(member.value());
      }
      around_.pop_back();
    }
  }

  void NoteTargets(const json::value& holder, const json::value& ref) {
    if (!ref.is_string() || !View(ref.get_string()).starts_with('#')) {
      return;
    }
    for (const json::value* root : around_) {
      if (const json::value* target = At(root, View(ref.get_string()).substr(1));
          target != nullptr) {
        targets_[&holder].push_back(target);
      }
    }
  }

  const json::value* At(const json::value* value, std::string_view pointer) {
    while (value != nullptr && !pointer.empty()) {
      if (!Step() || pointer[0] != '/') {
        return nullptr;
      }
      const std::string_view segment = pointer.substr(1, pointer.find('/', 1) - 1);
      pointer.remove_prefix(1 + segment.size());
      if (const json::object* object = value->if_object(); object != nullptr) {
        value = object->if_contains(Unescaped(segment));
      } else {
        const json::array* items = value->if_array();
        value = items == nullptr ? nullptr : Item(*items, segment);
      }
    }
    return value;
  }

  Size Of(const json::value& value) {
    if (!Step() || depth_ == kDepthMax) {
      is_over_ = true;
      return {};
    }
    ++depth_;
    Size size;
    if (const json::object* object = value.if_object(); object != nullptr) {
      size = OfObject(value, *object);
    } else if (const json::array* items = value.if_array(); items != nullptr) {
      size.bytes = 2;
      for (const json::value& item : *items) {
        AddMember(0, item, size);
      }
    } else {
      size.bytes = value.is_string() ? TextBytes(View(value.get_string())) : kScalarBytesMax;
    }
    --depth_;
    return size;
  }

  Size OfObject(const json::value& value, const json::object& object) {
    Size size{.bytes = 2};
    for (const auto& member : object) {
      AddMember(TextBytes(std::string_view(member.key())) + 2, member.value(), size);
    }
    if (const auto found = targets_.find(&value); found != targets_.end()) {
      const std::string_view name = View(object.at("$ref").get_string());
      Size most;
      for (const json::value* target : found->second) {
        const Size one = OfTarget(*target, name);
        most = {std::max(most.bytes, one.bytes), std::max(most.lines, one.lines)};
      }
      size.Add(most, 0);
    }
    return size;
  }

  // On a line of its own, with a comma; before the first one the line of the closing bracket.
  void AddMember(int64_t name_bytes, const json::value& value, Size& size) {
    if (size.lines == 0) {
      size.AddLine(0);
    }
    size.AddLine(1);
    size.Add({name_bytes + 1, 0}, 0);
    size.Add(Of(value), 1);
  }

  // What is written of it depends on the names that led here only where one of them comes again.
  Size OfTarget(const json::value& target, std::string_view name) {
    if (const auto known = known_.find({&target, name}); known != known_.end()) {
      return known->second;
    }
    Step(names_.size());
    const auto again = std::ranges::find(names_, name);
    const auto place = static_cast<size_t>(again - names_.begin());
    if (again != names_.end()) {
      again_ = std::min(again_, place);
      return {};
    }
    names_.push_back(name);
    const size_t before = std::exchange(again_, kNever);
    const Size size = Of(target);
    names_.pop_back();
    if (again_ >= place) {
      known_.emplace(std::pair(&target, name), size);
      again_ = kNever;
    }
    again_ = std::min(again_, before);
    return size;
  }

  static constexpr size_t kNever = std::numeric_limits<size_t>::max();

  std::vector<const json::value*> around_;  // objects, from the outside
  std::unordered_map<const json::value*, std::vector<const json::value*>> targets_;  // of a holder
  std::map<std::pair<const json::value*, std::string_view>, Size> known_;  // of a target, by a name
  std::vector<std::string_view> names_;                                    // that led here
  size_t again_ = kNever;  // the first of them that came again
  int64_t steps_ = 0;
  int depth_ = 0;
  bool is_over_ = false;
};

}  // namespace

int64_t ResolvedBytes(std::string_view tools) {
  if (!tools.contains("$ref") && !tools.contains("\\u00")) {
    return 0;
  }
  const Result<json::value> value = ParseJson(tools);
  return value.has_value() ? Resolver().Run(*value) : 0;
}

}  // namespace tradewind::dialects
