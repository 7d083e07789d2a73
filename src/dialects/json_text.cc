#include "dialects/json_text.h"

#include <algorithm>
#include <simdjson.h>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/limits.h"
#include "dialects/json_writer.h"

namespace tradewind::dialects {
namespace {

// Walks the top level of a JSON object that is known to be valid.
class TopLevel {
 public:
  explicit TopLevel(std::string_view text) : text_(text) { SkipTo('{'); }

  // Of a field: from behind the comma or brace before it, its name, its value, behind that, and the
  // comma or brace after it.
  struct Range {
    size_t from, begin, value, end, to;
  };
  // The next field; only to be called as often as there are fields.
  Range Next() {
    Range range{};
    range.from = at_;
    range.begin = SkipTo('"') - 1;
    SkipString();
    SkipTo(':');
    at_ = text_.find_first_not_of(" \t\r\n", at_);
    range.value = at_;
    SkipValue();
    range.end = at_;
    range.to = text_.find_first_of(",}", at_);
    at_ = range.to + 1;
    return range;
  }

 private:
  size_t SkipTo(char c) {
    at_ = text_.find(c, at_) + 1;
    return at_;
  }
  // From behind the opening quote to behind the closing one: the first that an even number of
  // backslashes stands before. (Looking for one byte is many times faster than for one of two.)
  void SkipString() {
    bool is_escaped = true;
    while (is_escaped) {
      at_ = text_.find('"', at_);
      const size_t before = text_.find_last_not_of('\\', at_ - 1);
      is_escaped = (at_ - before) % 2 == 0;
      ++at_;
    }
  }
  void SkipValue() {
    int depth = 0;
    do {
      at_ = depth == 0 ? at_ : text_.find_first_of("\"{}[]", at_);
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        SkipString();
      } else if (c == '{' || c == '[') {
        ++at_;
        ++depth;
      } else if (c == '}' || c == ']') {
        ++at_;
        --depth;
      } else {
        at_ = text_.find_first_of(",} \t\r\n", at_);  // a number or a literal
      }
    } while (depth > 0);
  }

  std::string_view text_;
  size_t at_ = 0;
};

constexpr size_t kBodyBytesOfKeptParser = 64 << 10;

std::string Quoted(std::string_view name) {
  JsonWriter json;
  json.Value(name);
  return json.Take();
}

}  // namespace

Result<JsonText> JsonText::Parse(std::string body, std::string_view what) {
  thread_local simdjson::dom::parser kept;
  simdjson::dom::parser large;  // its memory is many times its text's: not kept
  simdjson::dom::parser& parser = body.size() <= kBodyBytesOfKeptParser ? kept : large;
  if (parser.max_depth() != static_cast<size_t>(limits::kJsonDepthMax) &&
      parser.allocate(kBodyBytesOfKeptParser, limits::kJsonDepthMax) != simdjson::SUCCESS) {
    return Fail(ErrorCode::kResourceExhausted, "There is no memory to read JSON.");
  }
  body.reserve(body.size() + simdjson::SIMDJSON_PADDING);
  simdjson::dom::element root;
  if (const auto error = parser.parse(body).get(root); error != simdjson::SUCCESS) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("The {} is not valid JSON: {}.", what, simdjson::error_message(error)));
  }
  simdjson::dom::object object;
  if (root.get_object().get(object) != simdjson::SUCCESS) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("The {} must be a JSON object.", what));
  }
  if (object.size() > limits::kRequestFieldsMax) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("The {} has more than {} fields.", what, limits::kRequestFieldsMax));
  }
  JsonText out;
  out.fields_.reserve(object.size() + 1);  // mostly one is added on the way to a provider
  TopLevel walk(body);
  for (const simdjson::dom::key_value_pair& field : object) {
    const TopLevel::Range range = walk.Next();
    const auto twin = std::find_if(out.fields_.begin(), out.fields_.end(),
                                   [&](const Field& other) { return other.name == field.key; });
    if (twin != out.fields_.end()) {
      out.fields_.erase(twin);
      out.is_edited_ = true;
    }
    out.fields_.push_back({std::string(field.key),
                           range.from,
                           range.begin,
                           range.value,
                           range.end,
                           range.to,
                           {},
                           false});
  }
  out.text_ = std::move(body);
  return out;
}

const JsonText::Field* JsonText::Find(std::string_view name) const {
  const auto found = std::find_if(fields_.begin(), fields_.end(),
                                  [&](const Field& field) { return field.name == name; });
  return found == fields_.end() ? nullptr : &*found;
}

std::string_view JsonText::Raw(std::string_view name) const {
  const Field* field = Find(name);
  if (field == nullptr) {
    return {};
  }
  return field->edited.empty()
             ? std::string_view(text_).substr(field->value, field->end - field->value)
             : std::string_view(field->edited);
}

std::vector<std::string_view> JsonText::names() const {
  std::vector<std::string_view> out;
  for (const Field& field : fields_) {
    out.push_back(field.name);
  }
  return out;
}

void JsonText::Set(std::string_view name, std::string json) {
  TW_CHECK(!json.empty());
  is_edited_ = true;
  for (Field& field : fields_) {
    if (field.name == name) {
      field.edited = std::move(json);
      return;
    }
  }
  fields_.push_back({std::string(name), 0, 0, 0, 0, 0, std::move(json), true});
}

void JsonText::Remove(std::string_view name) {
  is_edited_ |= std::erase_if(fields_, [&](const Field& field) { return field.name == name; }) > 0;
}

void JsonText::Rename(std::string_view name, std::string to) {
  for (Field& field : fields_) {
    if (field.name == name) {
      field.name = std::move(to);
      field.is_renamed = true;
      is_edited_ = true;
      return;
    }
  }
}

std::string JsonText::Text() const {
  if (!is_edited_) {
    return text_;
  }
  std::string out;
  out.reserve(text_.size() + 256);
  out.append(text_, 0, text_.find('{') + 1);
  const char* separator = "";
  for (const Field& field : fields_) {
    out += std::exchange(separator, ",");
    out.append(text_, field.from, field.begin - field.from);
    if (field.is_renamed) {
      out.append(Quoted(field.name)).append(":");
    } else {
      out.append(text_, field.begin, field.value - field.begin);
    }
    if (field.edited.empty()) {
      out.append(text_, field.value, field.end - field.value);
    } else {
      out += field.edited;
    }
    out.append(text_, field.end, field.to - field.end);
  }
  out.append(text_, text_.rfind('}'));
  return out;
}

}  // namespace tradewind::dialects
