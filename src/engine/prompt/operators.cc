#include "engine/prompt/operators.h"

#include <cmath>
#include <numeric>

#include "engine/prompt/access.h"
#include "engine/prompt/format.h"

namespace tradewind::engine::prompt {
namespace {

constexpr std::string_view kTooLarge = "the result does not fit into a 64-bit integer";

std::string_view Symbol(Operator op) {
  switch (op) {
    case Operator::kAdd:
      return "+";
    case Operator::kSub:
      return "-";
    case Operator::kMul:
      return "*";
    case Operator::kDiv:
      return "/";
    case Operator::kFloorDiv:
      return "//";
    case Operator::kMod:
      return "%";
    case Operator::kPow:
      return "**";
    case Operator::kEq:
      return "==";
    case Operator::kNe:
      return "!=";
    case Operator::kLt:
      return "<";
    case Operator::kLe:
      return "<=";
    case Operator::kGt:
      return ">";
    case Operator::kGe:
      return ">=";
    case Operator::kIn:
      return "in";
    case Operator::kNotIn:
      return "not in";
  }
  return "?";
}

bool EqualLists(Run& run, const List& a, const List& b) {
  if (a.items.size() != b.items.size()) {
    return false;
  }
  for (size_t i = 0; i < a.items.size(); ++i) {
    if (!Equals(run, a.items[i], b.items[i])) {
      return false;
    }
  }
  return true;
}

bool EqualDicts(Run& run, const Dict& a, const Dict& b) {
  if (a.items.size() != b.items.size()) {
    return false;
  }
  for (const auto& [key, value] : a.items) {
    const Value* other = b.Find(key);
    if (other == nullptr || !Equals(run, value, *other)) {
      return false;
    }
  }
  return true;
}

// -1, 0, 1 for numbers of any kind; 2 when a NaN is among them.
int CompareNumbers(const Value& a, const Value& b) {
  const auto order = [](auto x, auto y) { return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2; };
  if (a.is_integral() && b.is_integral()) {
    return order(a.integer(), b.integer());
  }
  if (a.is_number() && b.is_number()) {
    // long double holds every int64 and every double.
    const auto wide = [](const Value& v) {
      return v.is(Kind::kFloat) ? static_cast<long double>(v.real())
                                : static_cast<long double>(v.integer());
    };
    return order(wide(a), wide(b));
  }
  const auto digits = [](const Value& v) {
    return v.is(Kind::kBigInt) ? v.as<BigInt>().digits : fmt::format("{}", v.integer());
  };
  if (a.is(Kind::kFloat) || b.is(Kind::kFloat)) {
    const auto approximate = [&](const Value& v) {
      return v.is(Kind::kFloat) ? v.real() : std::strtod(digits(v).c_str(), nullptr);
    };
    return order(approximate(a), approximate(b));
  }
  const std::string x = digits(a), y = digits(b);
  const bool x_negative = x.starts_with('-'), y_negative = y.starts_with('-');
  if (x_negative != y_negative) {
    return x_negative ? -1 : 1;
  }
  const int magnitude = x.size() != y.size() ? order(x.size(), y.size()) : order(x, y);
  return x_negative ? -magnitude : magnitude;
}

bool IsNumeric(const Value& v) {
  return v.is_number() || v.is(Kind::kBigInt);
}

std::unexpected<Error> Unsupported(Operator op, const Value& a, const Value& b) {
  if (a.is_undefined() || b.is_undefined()) {
    return UndefinedError(a.is_undefined() ? a : b);
  }
  if (a.is(Kind::kBigInt) || b.is(Kind::kBigInt)) {
    return RunError("arithmetic with integers beyond 64 bits is not supported");
  }
  return RunError("unsupported operand types for {}: '{}' and '{}'", Symbol(op), TypeName(a),
                  TypeName(b));
}

ValueResult Join(Run& run, const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) {
    const bool markup = a.text().markup() || b.text().markup();
    TextBuilder builder(&run.budget);
    builder.Append((markup ? Escape(run, a) : a).text());
    builder.Append((markup ? Escape(run, b) : b).text());
    return builder.Finish(markup);
  }
  std::vector<Value> items;
  const size_t count = a.list().items.size() + b.list().items.size();
  if (!run.budget.Fits(static_cast<int64_t>(count * sizeof(Value))) ||
      !run.budget.SpendCopy(static_cast<int64_t>(count * sizeof(Value)))) {
    return Value();
  }
  items.reserve(count);
  items = a.list().items;
  items.insert(items.end(), b.list().items.begin(), b.list().items.end());
  return a.is(Kind::kList) ? MakeList(&run.budget, std::move(items))
                           : MakeTuple(&run.budget, std::move(items));
}

ValueResult Repeat(Run& run, const Value& value, int64_t times) {
  if (value.is_string()) {
    TextBuilder builder(&run.budget);
    builder.AppendRepeated(value.text(), times);
    return builder.Finish(value.text().markup());
  }
  const auto& items = value.list().items;
  int64_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<int64_t>(items.size() * sizeof(Value)),
                             std::max<int64_t>(times, 0), &bytes)) {
    bytes = INT64_MAX / 2;
  }
  std::vector<Value> repeated;
  if (!items.empty() && run.budget.Fits(bytes) && run.budget.SpendCopy(bytes)) {
    for (int64_t i = 0; i < times; ++i) {
      repeated.insert(repeated.end(), items.begin(), items.end());
    }
  }
  return value.is(Kind::kList) ? MakeList(&run.budget, std::move(repeated))
                               : MakeTuple(&run.budget, std::move(repeated));
}

ValueResult IntegerPower(int64_t base, int64_t exponent, bool from_data) {
  if (exponent < 0) {
    if (base == 0) {
      return RunError("0 cannot be raised to a negative power");
    }
    return Value::Float(std::pow(static_cast<double>(base), static_cast<double>(exponent)),
                        from_data);
  }
  int64_t result = 1;
  for (int64_t square = base; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, square, &result)) {
      return RunError("{}", kTooLarge);
    }
    if (exponent > 1 && __builtin_mul_overflow(square, square, &square)) {
      return RunError("{}", kTooLarge);
    }
  }
  return Value::Int(result, from_data);
}

// Python's division rounds down, and the remainder has the sign of the divisor.
ValueResult IntegerArithmetic(Operator op, int64_t a, int64_t b, bool from_data) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case Operator::kAdd:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case Operator::kSub:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case Operator::kMul:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case Operator::kPow:
      return IntegerPower(a, b, from_data);
    default:
      if (b == 0) {
        return RunError("division by zero");
      }
      if (op == Operator::kDiv) {
        return Value::Float(static_cast<double>(a) / static_cast<double>(b), from_data);
      }
      if (b == -1) {
        overflow = op == Operator::kFloorDiv && __builtin_sub_overflow(int64_t{0}, a, &result);
      } else if (op == Operator::kFloorDiv) {
        result = a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
      } else {
        result = a % b;
        result += result != 0 && (result < 0) != (b < 0) ? b : 0;
      }
  }
  if (overflow) {
    return RunError("{}", kTooLarge);
  }
  return Value::Int(result, from_data);
}

ValueResult RealArithmetic(Operator op, double a, double b, bool from_data) {
  const auto real = [from_data](double v) { return Value::Float(v, from_data); };
  switch (op) {
    case Operator::kAdd:
      return real(a + b);
    case Operator::kSub:
      return real(a - b);
    case Operator::kMul:
      return real(a * b);
    case Operator::kPow: {
      if (a == 0 && b < 0) {
        return RunError("0.0 cannot be raised to a negative power");
      }
      const double power = std::pow(a, b);
      if (std::isnan(power) && !std::isnan(a) && !std::isnan(b)) {
        return RunError("complex numbers are not supported");
      }
      if (std::isinf(power) && std::isfinite(a) && std::isfinite(b)) {
        return RunError("numerical result out of range");
      }
      return real(power);
    }
    default:
      break;
  }
  if (b == 0) {
    return RunError("division by zero");
  }
  if (op == Operator::kDiv) {
    return real(a / b);
  }
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) {
    rest += b;
  } else if (rest == 0) {
    rest = std::copysign(0.0, b);
  }
  return real(op == Operator::kMod ? rest : std::round((a - rest) / b));
}

}  // namespace

std::unexpected<Error> UndefinedError(const Value& value) {
  if (value.object() == nullptr) {
    return RunError("the value is undefined");
  }
  return RunError("{}", value.as<UndefinedInfo>().message);
}

bool Truth(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.real() != 0;
    case Kind::kString:
    case Kind::kBytes:
      return value.text().size() > 0;
    case Kind::kList:
    case Kind::kTuple:
      return !value.list().items.empty();
    case Kind::kDict:
      return !value.dict().items.empty();
    case Kind::kDictView:
      return !value.as<DictView>().dict.dict().items.empty();
    case Kind::kRange:
      return value.as<Range>().length > 0;
    default:
      return true;
  }
}

bool Equals(Run& run, const Value& a, const Value& b) {
  if (!run.budget.SpendCopy(32)) {
    return false;
  }
  if (IsNumeric(a) && IsNumeric(b)) {
    return CompareNumbers(a, b) == 0;
  }
  if (a.kind() != b.kind()) {
    return false;
  }
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
    case Kind::kBytes:
      run.budget.SpendCopy(static_cast<int64_t>(std::min(a.text().size(), b.text().size())));
      return a.text().view() == b.text().view();
    case Kind::kList:
    case Kind::kTuple:
      return EqualLists(run, a.list(), b.list());
    case Kind::kDict:
      return EqualDicts(run, a.dict(), b.dict());
    case Kind::kRange: {
      const auto &x = a.as<Range>(), &y = b.as<Range>();
      return x.length == y.length && (x.length == 0 || x.start == y.start) &&
             (x.length <= 1 || x.step == y.step);
    }
    case Kind::kMethod:
      return a.as<Method>().name == b.as<Method>().name &&
             a.as<Method>().self.object() == b.as<Method>().self.object();
    case Kind::kFunction:
      return a.as<FunctionObject>().function == b.as<FunctionObject>().function;
    default:
      return a.object() == b.object();
  }
}

Result<bool> Less(Run& run, const Value& a, const Value& b, std::string_view symbol) {
  run.budget.SpendCopy(32);
  if (IsNumeric(a) && IsNumeric(b)) {
    return CompareNumbers(a, b) == -1;
  }
  if ((a.is_string() && b.is_string()) || (a.is(Kind::kBytes) && b.is(Kind::kBytes))) {
    run.budget.SpendCopy(static_cast<int64_t>(std::min(a.text().size(), b.text().size())));
    return a.text().view() < b.text().view();  // the order of UTF-8 bytes is that of code points
  }
  if (a.is_sequence() && a.kind() == b.kind()) {
    const auto &x = a.list().items, &y = b.list().items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!Equals(run, x[i], y[i])) {
        TW_RETURN_IF_ERROR(run.Check());
        return Less(run, x[i], y[i], symbol);
      }
    }
    return x.size() < y.size();
  }
  if (a.is_undefined() || b.is_undefined()) {
    return UndefinedError(a.is_undefined() ? a : b);
  }
  return RunError("'{}' is not supported between '{}' and '{}'", symbol, TypeName(a), TypeName(b));
}

Result<bool> Compare(Run& run, Operator op, const Value& a, const Value& b) {
  switch (op) {
    case Operator::kEq:
      return Equals(run, a, b);
    case Operator::kNe:
      return !Equals(run, a, b);
    case Operator::kLt:
      return Less(run, a, b, "<");
    case Operator::kGt:
      return Less(run, b, a, ">");
    case Operator::kIn:
      return Contains(run, b, a);
    case Operator::kNotIn: {
      TW_ASSIGN_OR_RETURN(const bool found, Contains(run, b, a));
      return !found;
    }
    default:
      break;
  }
  // <= and >= as "less or equal": a NaN is neither.
  const Value &low = op == Operator::kLe ? a : b, &high = op == Operator::kLe ? b : a;
  TW_ASSIGN_OR_RETURN(const bool less, Less(run, low, high, Symbol(op)));
  return less || Equals(run, low, high);
}

Result<bool> Contains(Run& run, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kString:
      if (!item.is_string()) {
        return RunError("'in <string>' needs a string on its left, not {}", TypeName(item));
      }
      run.budget.SpendCopy(static_cast<int64_t>(container.text().size()));
      return container.text().view().find(item.text().view()) != std::string_view::npos;
    case Kind::kDict:
    case Kind::kDictView: {
      const bool view = container.is(Kind::kDictView);
      const DictView::Part part = view ? container.as<DictView>().part : DictView::Part::kKeys;
      if (part != DictView::Part::kKeys) {
        break;
      }
      if (HashKey(item).empty()) {
        return RunError("unhashable type: '{}'", TypeName(item));
      }
      return (view ? container.as<DictView>().dict : container).dict().Find(item) != nullptr;
    }
    case Kind::kNamespace:
    case Kind::kBytes:
      return RunError("'in' is not supported for '{}'", TypeName(container));
    default:
      break;
  }
  TW_ASSIGN_OR_RETURN(const std::shared_ptr<Iterator> each, Iterate(run, container));
  Value candidate;
  while (run.budget.ok() && each->Next(candidate)) {
    if (Equals(run, candidate, item)) {
      return true;
    }
  }
  return false;
}

ValueResult Arithmetic(Run& run, Operator op, const Value& a, const Value& b) {
  const bool from_data = a.from_data() || b.from_data();
  if (a.is_integral() && b.is_integral()) {
    return IntegerArithmetic(op, a.integer(), b.integer(), from_data);
  }
  if (a.is_number() && b.is_number()) {
    return RealArithmetic(op, a.real(), b.real(), from_data);
  }
  if (op == Operator::kMod && a.is_string()) {
    return PercentFormat(run, a, b);
  }
  if (op == Operator::kAdd && a.kind() == b.kind() && (a.is_string() || a.is_sequence())) {
    return Join(run, a, b);
  }
  if (op == Operator::kMul) {
    const bool left = a.is_string() || a.is_sequence();
    if (left && b.is_integral()) {
      return Repeat(run, a, b.integer());
    }
    if (!left && (b.is_string() || b.is_sequence()) && a.is_integral()) {
      return Repeat(run, b, a.integer());
    }
  }
  return Unsupported(op, a, b);
}

// A merge sort of our own: it may stop at any comparison with an error, and an order that
// contradicts itself (NaN) cannot lead it astray.
Result<std::vector<size_t>> SortedOrder(Run& run, const std::vector<Value>& keys, bool reverse) {
  std::vector<size_t> order(keys.size()), merged(keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t width = 1; width < order.size(); width *= 2) {
    for (size_t begin = 0; begin < order.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, order.size());
      const size_t end = std::min(begin + 2 * width, order.size());
      size_t left = begin, right = middle;
      for (size_t out = begin; out < end; ++out) {
        bool take_right = left == middle;
        if (!take_right && right < end) {
          const Value &a = keys[order[left]], &b = keys[order[right]];
          TW_ASSIGN_OR_RETURN(take_right, reverse ? Less(run, a, b) : Less(run, b, a));
          TW_RETURN_IF_ERROR(run.Check());
        }
        merged[out] = order[take_right ? right++ : left++];
      }
    }
    order.swap(merged);
  }
  return order;
}

ValueResult Negate(Run& run, const Value& value) {
  if (value.is_integral()) {
    return IntegerArithmetic(Operator::kSub, 0, value.integer(), value.from_data());
  }
  if (value.is(Kind::kFloat)) {
    return Value::Float(-value.real(), value.from_data());
  }
  if (value.is(Kind::kBigInt)) {
    const std::string& digits = value.as<BigInt>().digits;
    return MakeInteger(&run.budget, digits.starts_with('-') ? digits.substr(1) : "-" + digits,
                       value.from_data());
  }
  if (value.is_undefined()) {
    return UndefinedError(value);
  }
  return RunError("bad operand type for unary -: '{}'", TypeName(value));
}

}  // namespace tradewind::engine::prompt
