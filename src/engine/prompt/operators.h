// Python's operators on values.
#pragma once

#include "engine/prompt/ast.h"
#include "engine/prompt/runtime.h"

namespace tradewind::engine::prompt {

bool Truth(const Value& value);
// == never fails. Bounded by the budget: once it is exhausted the answer is false.
bool Equals(Run& run, const Value& a, const Value& b);
// a < b. Errors: types that have no order.
Result<bool> Less(Run& run, const Value& a, const Value& b, std::string_view symbol = "<");
Result<bool> Compare(Run& run, Operator op, const Value& a, const Value& b);
Result<bool> Contains(Run& run, const Value& container, const Value& item);
// Errors: wrong types, division by zero, results beyond 64-bit integers.
ValueResult Arithmetic(Run& run, Operator op, const Value& a, const Value& b);
ValueResult Negate(Run& run, const Value& value);

// The positions of `keys` in the order of Python's sorted(): by <, equal ones (reversed or not) as
// they stood. Errors: keys that have no order.
Result<std::vector<size_t>> SortedOrder(Run& run, const std::vector<Value>& keys, bool reverse);

// Any use of an undefined value that needs one gives this.
std::unexpected<Error> UndefinedError(const Value& value);

}  // namespace tradewind::engine::prompt
