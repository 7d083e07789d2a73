// Values as text: str(), repr(), JSON, HTML escaping, %-formatting and str.format.
#pragma once

#include <string>
#include <string_view>

#include "engine/prompt/runtime.h"

namespace tradewind::engine::prompt {

// str(value), keeping provenance; a container that holds any data is data as a whole.
void AppendStr(Run& run, const Value& value, TextBuilder& out);
Value ToStr(Run& run, const Value& value);  // a plain string; strings lose their markup flag
// Like ToStr, but a string stays what it is (what most filters do with their subject).
Value SoftStr(Run& run, const Value& value);
void AppendRepr(Run& run, const Value& value, TextBuilder& out);
std::string ReprString(Run& run, const Value& value);  // for messages: cut to some 200 bytes

// & < > ' " as entities; the result is markup. Markup stays as it is.
Value Escape(Run& run, const Value& value);

// The shortest digits that read back as the same number, written as Python writes them: "1e+16",
// "0.1", "2.0".
std::string FloatRepr(double value);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // one level's; absent: everything on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool literal = true;  // the template wrote indent and separators
};
// json.dumps. Errors: a value or key that JSON does not have.
ValueResult ToJson(Run& run, const Value& value, const JsonStyle& style);

// format % arguments (a tuple of them, a dict, or a single value).
ValueResult PercentFormat(Run& run, const Value& format, const Value& arguments);
// format.format(*args, **named)
ValueResult StrFormat(Run& run, const Value& format, const Args& args);

// A number by a format specification, without padding. `type`: one of d x X o b c e E f F g G %, or
// 0 for the default.
struct NumberFormat {
  char type = 0;
  int precision = -1;  // absent
  bool alternate = false;
  char sign = '-';    // '+', '-' or ' '
  char grouping = 0;  // ',' or '_'
};
Result<std::string> FormatNumber(const Value& value, const NumberFormat& format);
// "[[fill]align][sign][#][0][width][,][.precision][type]" applied to a value.
Status AppendFormatted(Run& run, const Value& value, const TextBuilder& specification,
                       TextBuilder& out);

}  // namespace tradewind::engine::prompt
