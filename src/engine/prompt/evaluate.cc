// The interpreter's expressions.
#include "engine/prompt/access.h"
#include "engine/prompt/format.h"
#include "engine/prompt/interpreter.h"
#include "engine/prompt/operators.h"

namespace tradewind::engine::prompt {

ValueResult Interpreter::Eval(const Expr& expr, const ScopePtr& scope) {
  if (expr.kind == ExprKind::kConst) {
    return expr.constant;
  }
  run_.budget.SpendSteps(1);
  if (run_.depth >= run_.budget.bounds().run_depth_max) {
    return RunError("blocks and macros are nested deeper than {} levels",
                    run_.budget.bounds().run_depth_max);
  }
  ++run_.depth;
  ValueResult value = EvalKind(expr, scope);
  --run_.depth;
  if (value.has_value()) {
    if (auto status = run_.Check(); !status.has_value()) {
      return Locate(std::move(status).error(), expr.line);
    }
    return value;
  }
  return Locate(std::move(value).error(), expr.line);
}

ValueResult Interpreter::EvalKind(const Expr& expr, const ScopePtr& scope) {
  switch (expr.kind) {
    case ExprKind::kConst:
      return expr.constant;
    case ExprKind::kName:
      return EvalName(expr, scope);
    case ExprKind::kList:
    case ExprKind::kTuple:
      return EvalItems(expr, scope);
    case ExprKind::kDict:
      return EvalDict(expr, scope);
    case ExprKind::kNot:
    case ExprKind::kNegative:
    case ExprKind::kPositive:
      return EvalUnary(expr, scope);
    case ExprKind::kAnd:
    case ExprKind::kOr:
      return EvalLogic(expr, scope);
    case ExprKind::kConcat:
      return EvalConcat(expr, scope);
    case ExprKind::kArithmetic:
      return EvalArithmetic(expr, scope);
    case ExprKind::kCompare:
      return EvalCompare(expr, scope);
    case ExprKind::kConditional:
      return EvalConditional(expr, scope);
    case ExprKind::kAttribute:
      return EvalAttribute(expr, scope);
    case ExprKind::kItem:
      return EvalItem(expr, scope);
    case ExprKind::kSlice:
      return RunError("a slice cannot stand among several subscripts");
    case ExprKind::kCall:
      return EvalCall(expr, scope, nullptr);
    case ExprKind::kFilter:
      return EvalFilter(expr, scope);
    case ExprKind::kTest:
      return EvalTest(expr, scope);
  }
  return Value();
}

ValueResult Interpreter::EvalName(const Expr& expr, const ScopePtr& scope) {
  if (const Value* value = scope->Find(expr.name); value != nullptr) {
    return *value;
  }
  if (GlobalExists(expr.name)) {
    return FindGlobal(expr.name);
  }
  return MakeUndefined(&run_.budget, fmt::format("'{}' is undefined", expr.name));
}

ValueResult Interpreter::EvalItems(const Expr& expr, const ScopePtr& scope) {
  std::vector<Value> items;
  items.reserve(expr.operands.size());
  for (const Expr* operand : expr.operands) {
    TW_ASSIGN_OR_RETURN(Value item, Eval(*operand, scope));
    items.push_back(std::move(item));
  }
  return expr.kind == ExprKind::kList ? MakeList(&run_.budget, std::move(items))
                                      : MakeTuple(&run_.budget, std::move(items));
}

ValueResult Interpreter::EvalDict(const Expr& expr, const ScopePtr& scope) {
  Dict::Items items;
  for (size_t i = 0; i < expr.operands.size(); i += 2) {
    TW_ASSIGN_OR_RETURN(Value key, Eval(*expr.operands[i], scope));
    TW_ASSIGN_OR_RETURN(Value value, Eval(*expr.operands[i + 1], scope));
    if (HashKey(key).empty()) {
      return RunError("unhashable type: '{}'", TypeName(key));
    }
    items.emplace_back(std::move(key), std::move(value));
  }
  return MakeDict(&run_.budget, std::move(items));
}

ValueResult Interpreter::EvalUnary(const Expr& expr, const ScopePtr& scope) {
  TW_ASSIGN_OR_RETURN(const Value value, Eval(*expr.operands[0], scope));
  if (expr.kind == ExprKind::kNot) {
    return Value::Bool(!Truth(value));
  }
  if (expr.kind == ExprKind::kNegative) {
    return Negate(run_, value);
  }
  if (value.is_integral()) {
    return Value::Int(value.integer(), value.from_data());
  }
  if (value.is(Kind::kFloat) || value.is(Kind::kBigInt)) {
    return value;
  }
  return value.is_undefined() ? UndefinedError(value)
                              : RunError("bad operand type for unary +: '{}'", TypeName(value));
}

ValueResult Interpreter::EvalLogic(const Expr& expr, const ScopePtr& scope) {
  Value value;
  for (const Expr* operand : expr.operands) {
    TW_ASSIGN_OR_RETURN(value, Eval(*operand, scope));
    if (Truth(value) == (expr.kind == ExprKind::kOr)) {
      break;
    }
  }
  return value;
}

ValueResult Interpreter::EvalConcat(const Expr& expr, const ScopePtr& scope) {
  TextBuilder text(&run_.budget);
  for (const Expr* operand : expr.operands) {
    TW_ASSIGN_OR_RETURN(const Value value, Eval(*operand, scope));
    AppendStr(run_, value, text);
  }
  return text.Finish();
}

ValueResult Interpreter::EvalArithmetic(const Expr& expr, const ScopePtr& scope) {
  TW_ASSIGN_OR_RETURN(Value left, Eval(*expr.operands[0], scope));
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    TW_ASSIGN_OR_RETURN(const Value right, Eval(*expr.operands[i + 1], scope));
    TW_ASSIGN_OR_RETURN(left, Arithmetic(run_, expr.operators[i], left, right));
    TW_RETURN_IF_ERROR(run_.Check());
  }
  return left;
}

ValueResult Interpreter::EvalCompare(const Expr& expr, const ScopePtr& scope) {
  TW_ASSIGN_OR_RETURN(Value left, Eval(*expr.operands[0], scope));
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    TW_ASSIGN_OR_RETURN(Value right, Eval(*expr.operands[i + 1], scope));
    TW_ASSIGN_OR_RETURN(const bool holds, Compare(run_, expr.operators[i], left, right));
    if (!holds) {
      return Value::Bool(false);
    }
    left = std::move(right);
  }
  return Value::Bool(true);
}

ValueResult Interpreter::EvalConditional(const Expr& expr, const ScopePtr& scope) {
  TW_ASSIGN_OR_RETURN(const Value test, Eval(*expr.operands[0], scope));
  if (Truth(test)) {
    return Eval(*expr.operands[1], scope);
  }
  if (expr.operands[2] != nullptr) {
    return Eval(*expr.operands[2], scope);
  }
  return MakeUndefined(&run_.budget,
                       fmt::format("the inline if on line {} is false and has no else", expr.line));
}

ValueResult Interpreter::EvalAttribute(const Expr& expr, const ScopePtr& scope) {
  TW_ASSIGN_OR_RETURN(const Value object, Eval(*expr.operands[0], scope));
  return GetAttribute(run_, object, expr.name);
}

ValueResult Interpreter::EvalItem(const Expr& expr, const ScopePtr& scope) {
  TW_ASSIGN_OR_RETURN(const Value object, Eval(*expr.operands[0], scope));
  const Expr& key = *expr.operands[1];
  if (key.kind != ExprKind::kSlice) {
    TW_ASSIGN_OR_RETURN(const Value index, Eval(key, scope));
    return GetItem(run_, object, index);
  }
  Value parts[3];
  const Value* given[3] = {nullptr, nullptr, nullptr};
  for (size_t i = 0; i < 3; ++i) {
    if (key.operands[i] != nullptr) {
      TW_ASSIGN_OR_RETURN(parts[i], Eval(*key.operands[i], scope));
      given[i] = &parts[i];
    }
  }
  return GetSlice(run_, object, given[0], given[1], given[2]);
}

Result<Args> Interpreter::EvalArgs(const CallArgs& call, const ScopePtr& scope) {
  Args args;
  for (const Expr* expr : call.positional) {
    TW_ASSIGN_OR_RETURN(Value value, Eval(*expr, scope));
    args.positional.push_back(std::move(value));
  }
  for (const auto& [name, expr] : call.named) {
    TW_ASSIGN_OR_RETURN(Value value, Eval(*expr, scope));
    args.named.emplace_back(name, std::move(value));
  }
  if (call.list != nullptr) {
    TW_ASSIGN_OR_RETURN(const Value list, Eval(*call.list, scope));
    TW_ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(run_, list));
    args.positional.insert(args.positional.end(), items.begin(), items.end());
  }
  if (call.mapping != nullptr) {
    TW_ASSIGN_OR_RETURN(const Value mapping, Eval(*call.mapping, scope));
    if (!mapping.is(Kind::kDict)) {
      return RunError("the argument after ** must be a mapping, not {}", TypeName(mapping));
    }
    for (const auto& [key, value] : mapping.dict().items) {
      if (!key.is_string()) {
        return RunError("keywords must be strings");
      }
      args.names_from_data = args.names_from_data || key.text().any_data();
      args.named.emplace_back(key.text().view(), value);
    }
  }
  return args;
}

ValueResult Interpreter::EvalCall(const Expr& expr, const ScopePtr& scope, const Value* caller) {
  TW_ASSIGN_OR_RETURN(const Value callee, Eval(*expr.operands[0], scope));
  TW_ASSIGN_OR_RETURN(Args args, EvalArgs(expr.args, scope));
  if (caller != nullptr) {
    args.named.emplace_back("caller", *caller);
  }
  return Call(callee, args);
}

ValueResult Interpreter::EvalFilter(const Expr& expr, const ScopePtr& scope) {
  Value subject = block_text_;
  if (expr.operands[0] != nullptr) {
    TW_ASSIGN_OR_RETURN(subject, Eval(*expr.operands[0], scope));
  }
  TW_ASSIGN_OR_RETURN(const Args args, EvalArgs(expr.args, scope));
  return ApplyFilter(run_, expr.name, subject, args);
}

ValueResult Interpreter::EvalTest(const Expr& expr, const ScopePtr& scope) {
  TW_ASSIGN_OR_RETURN(const Value subject, Eval(*expr.operands[0], scope));
  TW_ASSIGN_OR_RETURN(const Args args, EvalArgs(expr.args, scope));
  TW_ASSIGN_OR_RETURN(const bool holds, ApplyTest(run_, expr.name, subject, args));
  return Value::Bool(holds);
}

}  // namespace tradewind::engine::prompt
