#include "dialects/schema_refs.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <span>
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

// Of values visited, again and again where names lead in circles: beyond those that stand in the
// JSON, as many as a request may keep its thread busy with. Five types that name each other take
// more, and are written in more bytes than a context has tokens.
constexpr int64_t kStepsMax = 1 << 16;
constexpr int64_t kStepsPerByte = 2;
constexpr size_t kTextBytesPerStep = 16;
// A target that is remembered counts as so much text: there may be one for each object around.
constexpr size_t kKeptBytes = 128;
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

// Of "/$defs/a~1b": "$defs" and "a/b". Nothing where it does not begin with a slash.
std::vector<std::string> Path(std::string_view pointer) {
  std::vector<std::string> path;
  for (size_t i = 0; i < pointer.size() && pointer[0] == '/'; ++i) {
    const bool is_escape = pointer[i] == '~' && i + 1 < pointer.size() &&
                           (pointer[i + 1] == '0' || pointer[i + 1] == '1');
    if (pointer[i] == '/') {
      path.emplace_back();
    } else if (is_escape) {
      path.back() += pointer[++i] == '1' ? '/' : '~';
    } else {
      path.back() += pointer[i];
    }
  }
  return path;
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
  explicit Resolver(size_t json_bytes)
      : steps_left_(kStepsMax + kStepsPerByte * static_cast<int64_t>(json_bytes)) {}

  int64_t Run(const json::value& root) {
    Find(root);
    const int64_t bytes = references_.empty() ? 0 : Of(root).bytes;
    return steps_left_ < 0 ? kResolvedBytesMax : bytes;
  }

 private:
  struct Reference {
    size_t name = 0;  // equal ones have one number
    std::vector<const json::value*> targets;
  };

  bool Step(size_t text_bytes = 0) {
    steps_left_ -= 1 + static_cast<int64_t>(text_bytes / kTextBytesPerStep);
    return steps_left_ >= 0;
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
    const std::string_view name = View(ref.get_string());
    // JSON does not nest as deep as a path of that many slashes.
    const bool leads_nowhere = std::ranges::count(name, '/') > kDepthMax;
    const std::vector<std::string> path =
        Step(name.size()) && !leads_nowhere ? Path(name.substr(1)) : std::vector<std::string>();
    if (path.empty() && name != "#") {
      return;
    }
    Reference found;
    for (const json::value* root : around_) {
      if (const json::value* target = Step(name.size()) ? At(root, path) : nullptr;
          target != nullptr && Step(kKeptBytes)) {
        found.targets.push_back(target);
      }
    }
    if (!found.targets.empty()) {
      found.name = names_.emplace(name, names_.size()).first->second;
      places_.resize(names_.size(), kNever);
      references_.emplace(&holder, std::move(found));
    }
  }

  const json::value* At(const json::value* value, std::span<const std::string> path) {
    for (const std::string& segment : path) {
      if (value == nullptr || !Step()) {
        return nullptr;
      }
      if (const json::object* object = value->if_object(); object != nullptr) {
        value = object->if_contains(segment);
      } else {
        const json::array* items = value->if_array();
        value = items == nullptr ? nullptr : Item(*items, segment);
      }
    }
    return value;
  }

  Size Of(const json::value& value) {
    if (!Step() || depth_ == kDepthMax) {
      steps_left_ = -1;
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
      size.bytes = value.is_string() ? OfText(View(value.get_string())) : kScalarBytesMax;
    }
    --depth_;
    return size;
  }

  int64_t OfText(std::string_view text) { return Step(text.size()) ? TextBytes(text) : 0; }

  Size OfObject(const json::value& value, const json::object& object) {
    Size size{.bytes = 2};
    for (const auto& member : object) {
      AddMember(OfText(std::string_view(member.key())) + 2, member.value(), size);
    }
    if (const auto found = references_.find(&value); found != references_.end()) {
      Size most;
      for (const json::value* target : found->second.targets) {
        const Size one = OfTarget(*target, found->second.name);
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

  // What is written of it depends on the names that led here only where one of them comes again. Of
  // a circle nothing is remembered, not even where it begins: elsewhere names of it stand above,
  // and less is written.
  Size OfTarget(const json::value& target, size_t name) {
    if (const auto known = known_.find({&target, name}); known != known_.end()) {
      return known->second;
    }
    if (places_[name] != kNever) {
      again_ = std::min(again_, places_[name]);
      return {};
    }
    const size_t place = names_above_++;
    places_[name] = place;
    const size_t before = std::exchange(again_, kNever);
    const Size size = Of(target);
    places_[name] = kNever;
    --names_above_;
    if (again_ == kNever) {
      known_.emplace(std::pair(&target, name), size);
    } else if (again_ >= place) {
      again_ = kNever;
    }
    again_ = std::min(again_, before);
    return size;
  }

  static constexpr size_t kNever = std::numeric_limits<size_t>::max();

  std::vector<const json::value*> around_;                        // objects, from the outside
  std::unordered_map<const json::value*, Reference> references_;  // by what holds them
  std::unordered_map<std::string_view, size_t> names_;            // their numbers
  std::map<std::pair<const json::value*, size_t>, Size> known_;   // of a target, by a name
  std::vector<size_t> places_;                                    // of names that led here
  size_t names_above_ = 0;
  size_t again_ = kNever;  // the first place of a name that came again
  int64_t steps_left_;
  int depth_ = 0;
};

}  // namespace

int64_t ResolvedBytes(std::string_view tools) {
  if (!tools.contains("$ref") && !tools.contains("\\u00")) {
    return 0;
  }
  const Result<json::value> value = ParseJson(tools);
  return value.has_value() ? Resolver(tools.size()).Run(*value) : 0;
}

}  // namespace tradewind::dialects
