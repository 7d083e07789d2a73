// JSON text, written straight into a string: fields in the order of the calls, numbers in their
// shortest exact form. (Boost.JSON would build a tree per token and print 0.5 as 5E-1.)
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tradewind::dialects {

class JsonWriter {
 public:
  JsonWriter& BeginObject() { return Open('{'); }
  JsonWriter& EndObject() { return Close('}'); }
  JsonWriter& BeginArray() { return Open('['); }
  JsonWriter& EndArray() { return Close(']'); }
  JsonWriter& Key(std::string_view name);

  JsonWriter& Value(std::string_view text);  // invalid UTF-8 becomes U+FFFD
  JsonWriter& Value(const char* text) { return Value(std::string_view(text)); }
  JsonWriter& Value(const std::string& text) { return Value(std::string_view(text)); }
  JsonWriter& Value(double number);  // null when not finite
  JsonWriter& Value(std::same_as<bool> auto flag) { return Raw(flag ? "true" : "false"); }
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  JsonWriter& Value(T number) {
    return Integer(static_cast<int64_t>(number));
  }
  JsonWriter& Null() { return Raw("null"); }
  JsonWriter& Raw(std::string_view json);  // a value that is JSON text already

  template <class T>
  JsonWriter& Field(std::string_view name, const T& value) {
    return Key(name).Value(value);
  }

  std::string Take() { return std::move(out_); }

 private:
  JsonWriter& Open(char bracket);
  JsonWriter& Close(char bracket);
  JsonWriter& Integer(int64_t number);
  void Separate();

  std::string out_;
  bool need_comma_ = false;
};

}  // namespace tradewind::dialects
