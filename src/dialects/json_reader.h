// Request bodies: bounded JSON, and an object's fields with the path of each for error messages.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "base/result.h"

namespace tradewind::dialects {

// Strict RFC 8259: no comments, no NaN, valid UTF-8 and surrogate pairs; at most kJsonDepthMax deep
// and kJsonValuesMax values. Of duplicate keys the last counts, as in Python and JavaScript.
// Errors: kInvalidArgument, kPayloadTooLarge.
Result<boost::json::value> ParseJson(std::string_view text);
// The same, when the text must be an object.
Result<boost::json::object> ParseJsonObject(std::string_view text);

// Reads fields of one object. The first wrong field is remembered and named; later calls go on
// harmlessly, so a parser reads as a list and asks once, at the end. Absent and null are the same:
// the output keeps its value.
class Fields {
 public:
  // `object` must outlive this. `path` is put in front of names: "messages[2].".
  explicit Fields(const boost::json::object& object, std::string path = "");

  // nullptr when absent or null. Names, here and below, must live as long as this.
  const boost::json::value* Find(std::string_view name);
  bool Flag(std::string_view name, bool& out);  // true when it was there and right
  bool Text(std::string_view name, std::string& out);
  bool Integer(std::string_view name, int64_t min, int64_t max, std::optional<int64_t>& out);
  // The range is [min, max], or (min, max] when `above_min`.
  bool Number(std::string_view name, double min, double max, std::optional<float>& out,
              bool above_min = false);

  void Wrong(std::string_view name,
             std::string message);  // kInvalidArgument; `message` goes on after the path
  void Refuse(std::string_view name, std::string message);  // kUnsupported
  void Adopt(Status status);                                // an error made elsewhere, if it is one

  std::string Path(std::string_view name) const { return path_ + std::string(name); }
  Status status() const;
  // Names that no call asked for, in the order of the body.
  std::vector<std::string> Unknown() const;

 private:
  const boost::json::object& object_;
  std::string path_;
  std::vector<std::string_view> known_;  // a few dozen at most
  std::optional<Error> error_;
};

// A JSON integer, or a number without a fraction ("1.0", "1e3").
std::optional<int64_t> AsInteger(const boost::json::value& value);

}  // namespace tradewind::dialects
