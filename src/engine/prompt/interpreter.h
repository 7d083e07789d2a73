// Runs a syntax tree: statements write text, expressions give values.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/prompt/ast.h"
#include "engine/prompt/runtime.h"

namespace tradewind::engine::prompt {

// Variables of a block of the template. Lookups go on in `parent`; assignments stay here.
class Scope {
 public:
  Scope(Budget* budget, std::shared_ptr<Scope> outer)
      : parent(std::move(outer)),
        depth(parent == nullptr ? 0 : parent->depth + 1),
        charge_(budget) {
    charge_.Set(sizeof(Scope));
  }
  const Value* Find(std::string_view name) const;
  void Set(const std::string& name, Value value);
  void Clear() {
    variables_.clear();
    parent.reset();
  }

  std::shared_ptr<Scope> parent;
  const int depth;
  bool captured =
      false;  // a macro refers to it: kept, with all its parents, until the rendering ends

 private:
  std::map<std::string, Value, std::less<>> variables_;
  MemoryCharge charge_;
};
using ScopePtr = std::shared_ptr<Scope>;

struct MacroObject final : Object {
  MacroObject(Budget* budget, const MacroDefinition* what, ScopePtr where)
      : Object(budget), definition(what), closure(std::move(where)) {
    charge_.Set(sizeof(MacroObject));
  }
  const MacroDefinition* definition;
  ScopePtr closure;
};

// The variable `loop`. Elements are taken when they are needed, as in Python: a filter of the loop
// may depend on what the body did before.
struct LoopObject final : Object {
  explicit LoopObject(Budget* budget) : Object(budget) { charge_.Set(sizeof(LoopObject)); }
  Result<bool> Advance(Value& item);  // false at the end
  Result<const Value*> Peek();        // null at the end
  Result<int64_t> Length();
  void Clear();

  std::function<Result<bool>(Value&)>
      pull;                    // the next element of the iterable that passes the filter
  int64_t known_length = -1;   // when the iterable has a length and no filter
  const Stmt* node = nullptr;  // when recursive
  ScopePtr scope;
  int depth0 = 0;
  int64_t index0 = -1;
  Value previous, current, last_changed;
  bool any_changed = false;

 private:
  std::deque<Value> ahead_;  // taken, not yet reached
};

class Interpreter {
 public:
  Interpreter(Run& run, ScopePtr root) : run_(run), root_(std::move(root)) {}
  Status Render(const Body& body, TextBuilder& out);

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };

  // --- statements (interpreter.cc)
  Result<Flow> ExecBody(const Body& body, const ScopePtr& scope, TextBuilder& out);
  Result<Flow> Exec(const Stmt& stmt, const ScopePtr& scope, TextBuilder& out);
  Result<Flow> ExecOutput(const Stmt& stmt, const ScopePtr& scope, TextBuilder& out);
  Result<Flow> ExecIf(const Stmt& stmt, const ScopePtr& scope, TextBuilder& out);
  Result<Flow> ExecFor(const Stmt& stmt, const ScopePtr& scope, TextBuilder& out);
  Result<Flow> RunLoop(const Stmt& stmt, const Value& iterable, const ScopePtr& scope, int depth0,
                       TextBuilder& out);
  Result<std::shared_ptr<LoopObject>> MakeLoop(const Stmt& stmt, const Value& iterable,
                                               const ScopePtr& scope, int depth0);
  Result<bool> RunIterations(const Stmt& stmt, const std::shared_ptr<LoopObject>& loop,
                             const ScopePtr& scope, TextBuilder& out);
  Status ExecSet(const Stmt& stmt, const ScopePtr& scope);
  Result<Flow> ExecSetBlock(const Stmt& stmt, const ScopePtr& scope);
  Result<Flow> ExecFilterBlock(const Stmt& stmt, const ScopePtr& scope, TextBuilder& out);
  Status ExecCallBlock(const Stmt& stmt, const ScopePtr& scope, TextBuilder& out);
  Result<Flow> ExecWith(const Stmt& stmt, const ScopePtr& scope, TextBuilder& out);
  Status Assign(const Target& target, const Value& value, const ScopePtr& scope);
  Value MakeMacro(const MacroDefinition& definition, const ScopePtr& scope);
  void Print(const Value& value, TextBuilder& out);
  ValueResult ApplyChain(const Expr* chain, Value text, const ScopePtr& scope);
  Result<ScopePtr> Enter(const ScopePtr& parent);

  // --- expressions (evaluate.cc)
  ValueResult Eval(const Expr& expr, const ScopePtr& scope);
  ValueResult EvalKind(const Expr& expr, const ScopePtr& scope);
  ValueResult EvalName(const Expr& expr, const ScopePtr& scope);
  ValueResult EvalItems(const Expr& expr, const ScopePtr& scope);  // list, tuple
  ValueResult EvalDict(const Expr& expr, const ScopePtr& scope);
  ValueResult EvalUnary(const Expr& expr, const ScopePtr& scope);
  ValueResult EvalLogic(const Expr& expr, const ScopePtr& scope);
  ValueResult EvalConcat(const Expr& expr, const ScopePtr& scope);
  ValueResult EvalArithmetic(const Expr& expr, const ScopePtr& scope);
  ValueResult EvalCompare(const Expr& expr, const ScopePtr& scope);
  ValueResult EvalConditional(const Expr& expr, const ScopePtr& scope);
  ValueResult EvalAttribute(const Expr& expr, const ScopePtr& scope);
  ValueResult EvalItem(const Expr& expr, const ScopePtr& scope);
  ValueResult EvalCall(const Expr& expr, const ScopePtr& scope, const Value* caller);
  ValueResult EvalFilter(const Expr& expr, const ScopePtr& scope);
  ValueResult EvalTest(const Expr& expr, const ScopePtr& scope);
  Result<Args> EvalArgs(const CallArgs& call, const ScopePtr& scope);

  // --- calls (calls.cc)
  ValueResult Call(const Value& callee, const Args& args);
  ValueResult CallMethod(const Method& method, const Args& args);
  ValueResult CallMacro(const MacroObject& macro, const Args& args);
  Status BindMacro(const MacroDefinition& definition, const Args& args, const ScopePtr& scope);

  std::unexpected<Error> Locate(Error error, int line);

  Run& run_;
  const ScopePtr root_;
  Value block_text_;  // the subject of a filter chain that has none of its own
};

}  // namespace tradewind::engine::prompt
