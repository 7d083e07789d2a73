#include "engine/prompt/operators.h"

#include <numeric>

#include "engine/prompt/access.h"

namespace tradewind::engine::prompt {
namespace {

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
  TW_ASSIGN_OR_RETURN(const bool less, Less(run, low, high, op == Operator::kLe ? "<=" : ">="));
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

}  // namespace tradewind::engine::prompt
