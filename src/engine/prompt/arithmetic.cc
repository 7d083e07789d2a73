// Python's arithmetic: + - * / // % ** on numbers, and + * % where strings and sequences have them.
#include <algorithm>
#include <cmath>

#include "engine/prompt/format.h"
#include "engine/prompt/operators.h"

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
    default:
      break;
  }
  return "?";
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
  if (op == Operator::kMod) {
    return real(rest);
  }
  const double quotient = std::round((a - rest) / b);
  return real(quotient != 0 ? quotient : std::copysign(0.0, a / b));
}

}  // namespace

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
