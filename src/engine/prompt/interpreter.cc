#include "engine/prompt/interpreter.h"

#include "engine/prompt/access.h"
#include "engine/prompt/format.h"
#include "engine/prompt/operators.h"

namespace tradewind::engine::prompt {

const Value* Scope::Find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent.get()) {
    if (const auto at = scope->variables_.find(name); at != scope->variables_.end()) {
      return &at->second;
    }
  }
  return nullptr;
}

void Scope::Set(const std::string& name, Value value) {
  variables_.insert_or_assign(name, std::move(value));
  charge_.Set(static_cast<int64_t>(sizeof(Scope) + variables_.size() * 128));
}

Result<bool> LoopObject::Advance(Value& item) {
  if (!ahead_.empty()) {
    item = std::move(ahead_.front());
    ahead_.pop_front();
  } else {
    TW_ASSIGN_OR_RETURN(const bool more, pull(item));
    if (!more) {
      return false;
    }
  }
  ++index0;
  previous = std::move(current);
  current = item;
  return true;
}

Result<const Value*> LoopObject::Peek() {
  if (ahead_.empty()) {
    Value item;
    TW_ASSIGN_OR_RETURN(const bool more, pull(item));
    if (!more) {
      return nullptr;
    }
    ahead_.push_back(std::move(item));
  }
  return &ahead_.front();
}

Result<int64_t> LoopObject::Length() {
  while (known_length < 0) {
    Value item;
    TW_ASSIGN_OR_RETURN(const bool more, pull(item));
    if (more) {
      ahead_.push_back(std::move(item));
      if (!charge_.Set(static_cast<int64_t>(sizeof(LoopObject) + ahead_.size() * sizeof(Value)))) {
        return 0;
      }
    } else {
      known_length = index0 + 1 + static_cast<int64_t>(ahead_.size());
    }
  }
  return known_length;
}

void LoopObject::Clear() {
  pull = nullptr;
  scope.reset();
  ahead_.clear();
  previous = current = last_changed = Value();
}

std::unexpected<Error> Interpreter::Locate(Error error, int line) {
  if (!run_.located) {
    run_.located = true;
    error.message = fmt::format("line {}: {}", line, error.message);
  }
  return std::unexpected(std::move(error));
}

Status Interpreter::Render(const Body& body, TextBuilder& out) {
  TW_ASSIGN_OR_RETURN(const Flow flow, ExecBody(body, root_, out));
  (void)flow;  // the parser lets nothing break out of the template
  return {};
}

Result<ScopePtr> Interpreter::Enter(const ScopePtr& parent) {
  auto scope = std::make_shared<Scope>(&run_.budget, parent);
  if (scope->depth > run_.budget.bounds().run_depth_max) {
    return RunError("blocks and macros are nested deeper than {} levels",
                    run_.budget.bounds().run_depth_max);
  }
  return scope;
}

Result<Interpreter::Flow> Interpreter::ExecBody(const Body& body, const ScopePtr& scope,
                                                TextBuilder& out) {
  if (run_.depth >= run_.budget.bounds().run_depth_max) {
    return RunError("blocks and macros are nested deeper than {} levels",
                    run_.budget.bounds().run_depth_max);
  }
  ++run_.depth;
  Result<Flow> flow = Flow::kNext;
  for (const Stmt* stmt : body) {
    flow = Exec(*stmt, scope, out);
    if (!flow.has_value()) {
      flow = Locate(std::move(flow).error(), stmt->line);
      break;
    }
    if (*flow != Flow::kNext) {
      break;
    }
  }
  --run_.depth;
  return flow;
}

Result<Interpreter::Flow> Interpreter::Exec(const Stmt& stmt, const ScopePtr& scope,
                                            TextBuilder& out) {
  run_.budget.SpendSteps(1);
  TW_RETURN_IF_ERROR(run_.Check());
  switch (stmt.kind) {
    case StmtKind::kOutput:
      return ExecOutput(stmt, scope, out);
    case StmtKind::kIf:
      return ExecIf(stmt, scope, out);
    case StmtKind::kFor:
      return ExecFor(stmt, scope, out);
    case StmtKind::kSet:
      TW_RETURN_IF_ERROR(ExecSet(stmt, scope));
      return Flow::kNext;
    case StmtKind::kSetBlock:
      return ExecSetBlock(stmt, scope);
    case StmtKind::kMacro:
      scope->Set(stmt.macro.name, MakeMacro(stmt.macro, scope));
      return Flow::kNext;
    case StmtKind::kCallBlock:
      TW_RETURN_IF_ERROR(ExecCallBlock(stmt, scope, out));
      return Flow::kNext;
    case StmtKind::kFilterBlock:
      return ExecFilterBlock(stmt, scope, out);
    case StmtKind::kWith:
      return ExecWith(stmt, scope, out);
    case StmtKind::kScope: {
      TW_ASSIGN_OR_RETURN(const ScopePtr inner, Enter(stmt.isolated ? root_ : scope));
      return ExecBody(stmt.bodies[0], inner, out);
    }
    case StmtKind::kAutoescape: {
      TW_ASSIGN_OR_RETURN(const Value on, Eval(*stmt.exprs[0], scope));
      if (Truth(on)) {
        return RunError("autoescape is not supported");
      }
      TW_ASSIGN_OR_RETURN(const ScopePtr inner, Enter(scope));
      return ExecBody(stmt.bodies[0], inner, out);
    }
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
    case StmtKind::kLoad:
      return RunError("a chat template cannot load other templates");
  }
  return Flow::kNext;
}

void Interpreter::Print(const Value& value, TextBuilder& out) {
  AppendStr(run_, value, out);
  if (static_cast<int64_t>(out.size()) > run_.budget.bounds().output_bytes_max) {
    run_.budget.Exhaust(Budget::Bound::kOutput);
  }
}

Result<Interpreter::Flow> Interpreter::ExecOutput(const Stmt& stmt, const ScopePtr& scope,
                                                  TextBuilder& out) {
  for (const Expr* expr : stmt.exprs) {
    TW_ASSIGN_OR_RETURN(const Value value, Eval(*expr, scope));
    Print(value, out);
    TW_RETURN_IF_ERROR(run_.Check());
  }
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::ExecIf(const Stmt& stmt, const ScopePtr& scope,
                                              TextBuilder& out) {
  for (size_t i = 0; i < stmt.exprs.size(); ++i) {
    TW_ASSIGN_OR_RETURN(const Value test, Eval(*stmt.exprs[i], scope));
    if (Truth(test)) {
      return ExecBody(stmt.bodies[i], scope, out);
    }
  }
  return stmt.bodies.size() > stmt.exprs.size() ? ExecBody(stmt.bodies.back(), scope, out)
                                                : Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::ExecFor(const Stmt& stmt, const ScopePtr& scope,
                                               TextBuilder& out) {
  TW_ASSIGN_OR_RETURN(const Value iterable, Eval(*stmt.exprs[0], scope));
  return RunLoop(stmt, iterable, scope, 0, out);
}

Result<std::shared_ptr<LoopObject>> Interpreter::MakeLoop(const Stmt& stmt, const Value& iterable,
                                                          const ScopePtr& scope, int depth0) {
  TW_ASSIGN_OR_RETURN(const std::shared_ptr<Iterator> source, Iterate(run_, iterable));
  auto loop = std::make_shared<LoopObject>(&run_.budget);
  loop->depth0 = depth0;
  loop->scope = scope;
  loop->node = stmt.recursive ? &stmt : nullptr;
  const Expr* filter = stmt.exprs[1];
  if (filter == nullptr && !iterable.is(Kind::kIterator)) {
    TW_ASSIGN_OR_RETURN(loop->known_length, Length(run_, iterable));
  }
  loop->pull = [this, source, filter, &stmt, scope](Value& item) -> Result<bool> {
    while (source->Next(item)) {
      run_.budget.SpendSteps(1);
      TW_RETURN_IF_ERROR(run_.Check());
      if (filter == nullptr) {
        return true;
      }
      TW_ASSIGN_OR_RETURN(const ScopePtr inner, Enter(scope));
      inner->Set("loop",
                 MakeUndefined(&run_.budget, "'loop' is undefined in the filter of a loop"));
      TW_RETURN_IF_ERROR(Assign(stmt.targets[0], item, inner));
      TW_ASSIGN_OR_RETURN(const Value passes, Eval(*filter, inner));
      if (Truth(passes)) {
        return true;
      }
    }
    return false;
  };
  return loop;
}

Result<bool> Interpreter::RunIterations(const Stmt& stmt, const std::shared_ptr<LoopObject>& loop,
                                        const ScopePtr& scope, TextBuilder& out) {
  bool completed =
      false;  // an iteration that break or continue cut short does not keep `else` from running
  Value item;
  while (true) {
    TW_ASSIGN_OR_RETURN(const bool more, loop->Advance(item));
    if (!more) {
      return completed;
    }
    TW_ASSIGN_OR_RETURN(const ScopePtr inner, Enter(scope));
    inner->Set("loop", Value(Kind::kLoop, loop));
    TW_RETURN_IF_ERROR(Assign(stmt.targets[0], item, inner));
    TW_ASSIGN_OR_RETURN(const Flow flow, ExecBody(stmt.bodies[0], inner, out));
    if (flow == Flow::kBreak) {
      return completed;
    }
    completed = completed || flow == Flow::kNext;
  }
}

Result<Interpreter::Flow> Interpreter::RunLoop(const Stmt& stmt, const Value& iterable,
                                               const ScopePtr& scope, int depth0,
                                               TextBuilder& out) {
  TW_ASSIGN_OR_RETURN(const std::shared_ptr<LoopObject> loop,
                      MakeLoop(stmt, iterable, scope, depth0));
  const Result<bool> completed = RunIterations(stmt, loop, scope, out);
  if (loop.use_count() > 1) {  // something still refers to it, perhaps itself
    run_.at_end.push_back([loop] { loop->Clear(); });
  }
  if (!completed.has_value()) {
    return std::unexpected(completed.error());
  }
  if (*completed || stmt.bodies.size() < 2) {
    return Flow::kNext;
  }
  TW_ASSIGN_OR_RETURN(const ScopePtr inner, Enter(scope));
  return ExecBody(stmt.bodies[1], inner, out);
}

Status Interpreter::Assign(const Target& target, const Value& value, const ScopePtr& scope) {
  if (target.is_tuple) {
    TW_ASSIGN_OR_RETURN(const std::vector<Value> parts, ToVector(run_, value));
    if (parts.size() != target.parts.size()) {
      return RunError("{} values to unpack (expected {}, got {})",
                      parts.size() > target.parts.size() ? "too many" : "not enough",
                      target.parts.size(), parts.size());
    }
    for (size_t i = 0; i < parts.size(); ++i) {
      TW_RETURN_IF_ERROR(Assign(target.parts[i], parts[i], scope));
    }
    return {};
  }
  if (target.attribute.empty()) {
    scope->Set(target.name, value);
    return {};
  }
  const Value* space = scope->Find(target.name);
  if (space == nullptr || !space->is(Kind::kNamespace)) {
    return RunError("cannot assign the attribute '{}' of '{}': it is not a namespace",
                    target.attribute, target.name);
  }
  if (target.attribute.starts_with('_')) {
    return RunError("a namespace cannot have an attribute '{}' that starts with an underscore",
                    target.attribute);
  }
  space->as<Namespace>().Set(target.attribute, value);
  return {};
}

Status Interpreter::ExecSet(const Stmt& stmt, const ScopePtr& scope) {
  TW_ASSIGN_OR_RETURN(const Value value, Eval(*stmt.exprs[0], scope));
  return Assign(stmt.targets[0], value, scope);
}

ValueResult Interpreter::ApplyChain(const Expr* chain, Value text, const ScopePtr& scope) {
  if (chain == nullptr) {
    return text;
  }
  std::swap(block_text_, text);
  ValueResult result = Eval(*chain, scope);
  std::swap(block_text_, text);
  return result;
}

Result<Interpreter::Flow> Interpreter::ExecSetBlock(const Stmt& stmt, const ScopePtr& scope) {
  TextBuilder text(&run_.budget);
  TW_ASSIGN_OR_RETURN(const ScopePtr inner, Enter(scope));
  TW_ASSIGN_OR_RETURN(const Flow flow, ExecBody(stmt.bodies[0], inner, text));
  if (flow != Flow::kNext) {
    return flow;
  }
  TW_ASSIGN_OR_RETURN(const Value value, ApplyChain(stmt.exprs[0], text.Finish(), inner));
  TW_RETURN_IF_ERROR(Assign(stmt.targets[0], value, scope));
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::ExecFilterBlock(const Stmt& stmt, const ScopePtr& scope,
                                                       TextBuilder& out) {
  TextBuilder text(&run_.budget);
  TW_ASSIGN_OR_RETURN(const ScopePtr inner, Enter(scope));
  TW_ASSIGN_OR_RETURN(const Flow flow, ExecBody(stmt.bodies[0], inner, text));
  if (flow != Flow::kNext) {
    return flow;
  }
  TW_ASSIGN_OR_RETURN(const Value value, ApplyChain(stmt.exprs[0], text.Finish(), inner));
  Print(value, out);
  return Flow::kNext;
}

Status Interpreter::ExecCallBlock(const Stmt& stmt, const ScopePtr& scope, TextBuilder& out) {
  const Value caller = MakeMacro(stmt.macro, scope);
  TW_ASSIGN_OR_RETURN(const Value value, EvalCall(*stmt.exprs[0], scope, &caller));
  Print(value, out);
  return {};
}

Result<Interpreter::Flow> Interpreter::ExecWith(const Stmt& stmt, const ScopePtr& scope,
                                                TextBuilder& out) {
  TW_ASSIGN_OR_RETURN(const ScopePtr inner, Enter(scope));
  for (size_t i = 0; i < stmt.exprs.size(); ++i) {
    TW_ASSIGN_OR_RETURN(const Value value, Eval(*stmt.exprs[i], scope));
    TW_RETURN_IF_ERROR(Assign(stmt.targets[i], value, inner));
  }
  return ExecBody(stmt.bodies[0], inner, out);
}

Value Interpreter::MakeMacro(const MacroDefinition& definition, const ScopePtr& scope) {
  // A scope with a macro in it refers to itself: keep it, and what it hangs on, to be emptied at
  // the end.
  for (ScopePtr at = scope; at != nullptr && !at->captured; at = at->parent) {
    at->captured = true;
    run_.at_end.push_back([at] { at->Clear(); });
  }
  return Value(Kind::kMacro, std::make_shared<MacroObject>(&run_.budget, &definition, scope));
}

}  // namespace tradewind::engine::prompt
