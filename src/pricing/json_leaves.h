// JSON whose numbers stay text: an object's leaves by their dotted paths.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tradewind::pricing {

struct Leaf {
  enum class Kind { kText, kNumber, kOther };  // other: true, false, null
  Kind kind = Kind::kOther;
  std::string
      text;  // of a text without quotes and escapes; else as it is written: "1.5e-07", "true"
};
// "pricing_config.pay_as_you_go.request_token.price" → leaf; list entries are "name.0".
using Leaves = std::map<std::string, Leaf, std::less<>>;

// Calls `row` for every member of the object `json` in its order; a member that is no object has
// one leaf with an empty path. Errors: kCorruptFile (not JSON, not an object, deeper than
// kJsonDepthMax), and those of `row`.
Status ForEachMember(std::string_view json,
                     const std::function<Status(const std::string& key, const Leaves&)>& row);

}  // namespace tradewind::pricing
