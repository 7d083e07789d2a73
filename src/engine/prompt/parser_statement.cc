// The parser's statements, one method per tag.
#include <algorithm>

#include <fmt/format.h>

#include "engine/prompt/parser_impl.h"

namespace tradewind::engine::prompt {
namespace {

template <class T>
class Restore {
 public:
  Restore(T& variable, T value) : variable_(variable), old_(variable) { variable = value; }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;
  ~Restore() { variable_ = old_; }

 private:
  T& variable_;
  T old_;
};

}  // namespace

Parser::StmtResult Parser::ParseIf(int line) {
  static constexpr std::string_view kEnds[] = {"elif", "else", "endif"};
  const Restore conditional(conditional_, true);
  Stmt* node = ast_.NewStmt(StmtKind::kIf, line);
  while (true) {
    TW_ASSIGN_OR_RETURN(const Expr* test, ParseTuple(false, "", false));
    node->exprs.push_back(test);
    TW_ASSIGN_OR_RETURN(Body body, ParseBlock(kEnds));
    node->bodies.push_back(std::move(body));
    if (SkipName("elif")) {
      continue;
    }
    if (SkipName("else")) {
      TW_ASSIGN_OR_RETURN(Body other, ParseBlock(std::span(kEnds).subspan(2)));
      node->bodies.push_back(std::move(other));
    }
    Advance();  // endif
    return node;
  }
}

Parser::StmtResult Parser::ParseFor(int line) {
  static constexpr std::string_view kEnds[] = {"else", "endfor"};
  const Restore any_loops(any_loops_, any_loops_ + 1);
  Stmt* node = ast_.NewStmt(StmtKind::kFor, line);
  TW_ASSIGN_OR_RETURN(Target target, ParseTarget("in", false));
  node->targets.push_back(std::move(target));
  TW_RETURN_IF_ERROR(ExpectName("in"));
  TW_ASSIGN_OR_RETURN(const Expr* iterable, ParseTuple(false, "recursive", false));
  node->exprs = {iterable, nullptr};
  if (SkipName("if")) {
    TW_ASSIGN_OR_RETURN(node->exprs[1], ParseExpression());
  }
  node->recursive = SkipName("recursive");
  const Restore conditional(conditional_, false);
  {
    const Restore loops(loops_, loops_ + 1);
    TW_ASSIGN_OR_RETURN(Body body, ParseBlock(kEnds));
    node->bodies.push_back(std::move(body));
  }
  if (SkipName("else")) {
    const Restore loops(loops_, node->recursive ? 0 : loops_);
    TW_ASSIGN_OR_RETURN(Body other, ParseBlock(std::span(kEnds).subspan(1)));
    node->bodies.push_back(std::move(other));
  }
  Advance();  // endfor
  return node;
}

Parser::StmtResult Parser::ParseSet(int line) {
  static constexpr std::string_view kEnds[] = {"endset"};
  TW_ASSIGN_OR_RETURN(Target target, ParseTarget("", true));
  Stmt* node = ast_.NewStmt(StmtKind::kSet, line);
  node->targets.push_back(std::move(target));
  if (SkipOperator("=")) {
    TW_ASSIGN_OR_RETURN(const Expr* value, ParseTuple(true, "", false));
    node->exprs.push_back(value);
    return node;
  }
  node->kind = StmtKind::kSetBlock;
  const Expr* chain = nullptr;
  while (AtOperator("|")) {
    Advance();
    TW_ASSIGN_OR_RETURN(chain, ParseFilter(chain));
  }
  node->exprs.push_back(chain);
  const Restore conditional(conditional_, false);
  TW_ASSIGN_OR_RETURN(Body body, ParseBlock(kEnds));
  node->bodies.push_back(std::move(body));
  Advance();
  return node;
}

Status Parser::ParseSignature(MacroDefinition& macro) {
  TW_RETURN_IF_ERROR(ExpectOperator("("));
  while (!AtOperator(")")) {
    if (!macro.parameters.empty()) {
      TW_RETURN_IF_ERROR(ExpectOperator(","));
    }
    const int line = Current().line;
    TW_ASSIGN_OR_RETURN(const std::string name, ExpectIdentifier());
    TW_ASSIGN_OR_RETURN(const Target target, NameTarget(name, line));
    if (SkipOperator("=")) {
      TW_ASSIGN_OR_RETURN(const Expr* value, ParseExpression());
      macro.defaults.push_back(value);
    } else if (!macro.defaults.empty()) {
      return FailHere("a parameter without a default follows one with a default");
    }
    macro.parameters.push_back(target.name);
  }
  Advance();
  return {};
}

Status Parser::ParseMacroBody(MacroDefinition& macro, std::string_view end) {
  const Restore loops(loops_, 0);
  const Restore conditional(conditional_, false);
  macros_.push_back(&macro);
  auto body = ParseBlock(std::span(&end, 1));
  macros_.pop_back();
  TW_ASSIGN_OR_RETURN(macro.body, std::move(body));
  Advance();
  const auto caller = std::ranges::find(macro.parameters, "caller");
  if (caller != macro.parameters.end()) {
    const size_t after = static_cast<size_t>(macro.parameters.end() - caller);
    if (macro.uses_caller && after > macro.defaults.size()) {
      return FailAt(macro.line, "the parameter 'caller' of a macro needs a default");
    }
    macro.uses_caller = false;
  }
  const auto declared = [&](std::string_view name) {
    return std::ranges::find(macro.parameters, name) != macro.parameters.end();
  };
  macro.uses_kwargs = macro.uses_kwargs && !declared("kwargs");
  macro.uses_varargs = macro.uses_varargs && !declared("varargs");
  return {};
}

Parser::StmtResult Parser::ParseMacro(int line) {
  Stmt* node = ast_.NewStmt(StmtKind::kMacro, line);
  node->macro.line = line;
  TW_ASSIGN_OR_RETURN(const std::string name, ExpectIdentifier());
  TW_ASSIGN_OR_RETURN(const Target target, NameTarget(name, line));
  node->macro.name = target.name;
  TW_RETURN_IF_ERROR(ParseSignature(node->macro));
  TW_RETURN_IF_ERROR(ParseMacroBody(node->macro, "endmacro"));
  return node;
}

Parser::StmtResult Parser::ParseCallBlock(int line) {
  Stmt* node = ast_.NewStmt(StmtKind::kCallBlock, line);
  node->macro.line = line;
  node->macro.name = "caller";
  if (AtOperator("(")) {
    TW_RETURN_IF_ERROR(ParseSignature(node->macro));
  }
  TW_ASSIGN_OR_RETURN(const Expr* call, ParseExpression());
  if (call->kind != ExprKind::kCall) {
    return FailAt(line, "'call' needs a call expression");
  }
  node->exprs.push_back(call);
  TW_RETURN_IF_ERROR(ParseMacroBody(node->macro, "endcall"));
  return node;
}

Parser::StmtResult Parser::ParseFilterBlock(int line) {
  static constexpr std::string_view kEnds[] = {"endfilter"};
  Stmt* node = ast_.NewStmt(StmtKind::kFilterBlock, line);
  TW_ASSIGN_OR_RETURN(const Expr* chain, ParseFilter(nullptr));
  while (SkipOperator("|")) {
    TW_ASSIGN_OR_RETURN(chain, ParseFilter(chain));
  }
  node->exprs.push_back(chain);
  const Restore conditional(conditional_, false);
  TW_ASSIGN_OR_RETURN(Body body, ParseBlock(kEnds));
  node->bodies.push_back(std::move(body));
  Advance();
  return node;
}

Parser::StmtResult Parser::ParseWith(int line) {
  static constexpr std::string_view kEnds[] = {"endwith"};
  Stmt* node = ast_.NewStmt(StmtKind::kWith, line);
  while (Current().type != TokenType::kBlockEnd) {
    if (!node->targets.empty()) {
      TW_RETURN_IF_ERROR(ExpectOperator(","));
    }
    TW_ASSIGN_OR_RETURN(Target target, ParseTarget("", false));
    node->targets.push_back(std::move(target));
    TW_RETURN_IF_ERROR(ExpectOperator("="));
    TW_ASSIGN_OR_RETURN(const Expr* value, ParseExpression());
    node->exprs.push_back(value);
  }
  const Restore conditional(conditional_, false);
  TW_ASSIGN_OR_RETURN(Body body, ParseBlock(kEnds));
  node->bodies.push_back(std::move(body));
  Advance();
  return node;
}

// {% generation %} marks what training counts as the assistant's; for a prompt it is only a scope.
// transformers makes it a call block, so a loop around it cannot be left from inside.
Parser::StmtResult Parser::ParseGeneration(int line) {
  static constexpr std::string_view kEnds[] = {"endgeneration"};
  Stmt* node = ast_.NewStmt(StmtKind::kScope, line);
  const Restore loops(loops_, 0);
  const Restore conditional(conditional_, false);
  TW_ASSIGN_OR_RETURN(Body body, ParseBlock(kEnds));
  node->bodies.push_back(std::move(body));
  Advance();
  return node;
}

Parser::StmtResult Parser::ParseNamedBlock(int line) {
  static constexpr std::string_view kEnds[] = {"endblock"};
  Stmt* node = ast_.NewStmt(StmtKind::kScope, line);
  TW_ASSIGN_OR_RETURN(const std::string name, ExpectIdentifier());
  if (std::ranges::find(block_names_, name) != block_names_.end()) {
    return FailAt(line, fmt::format("block '{}' is defined twice", name));
  }
  block_names_.push_back(name);
  node->isolated = !SkipName("scoped");
  SkipName("required");
  const Restore loops(loops_, 0);
  const Restore conditional(conditional_, false);
  TW_ASSIGN_OR_RETURN(Body body, ParseBlock(kEnds));
  node->bodies.push_back(std::move(body));
  Advance();
  SkipName(name);
  return node;
}

Parser::StmtResult Parser::ParseAutoescape(int line) {
  static constexpr std::string_view kEnds[] = {"endautoescape"};
  Stmt* node = ast_.NewStmt(StmtKind::kAutoescape, line);
  TW_ASSIGN_OR_RETURN(const Expr* on, ParseExpression());
  node->exprs.push_back(on);
  const Restore conditional(conditional_, false);
  TW_ASSIGN_OR_RETURN(Body body, ParseBlock(kEnds));
  node->bodies.push_back(std::move(body));
  Advance();
  return node;
}

// A model has one template: what would load another fails when it is reached.
Parser::StmtResult Parser::ParseLoad(std::string_view, int line) {
  Stmt* node = ast_.NewStmt(StmtKind::kLoad, line);
  TW_ASSIGN_OR_RETURN(const Expr* name, ParseExpression());
  node->exprs.push_back(name);
  while (Current().type == TokenType::kName || AtOperator(",")) {
    Advance();
  }
  return node;
}

Parser::StmtResult Parser::ParsePrint(int line) {
  Stmt* node = ast_.NewStmt(StmtKind::kOutput, line);
  while (Current().type != TokenType::kBlockEnd) {
    if (!node->exprs.empty()) {
      TW_RETURN_IF_ERROR(ExpectOperator(","));
    }
    TW_ASSIGN_OR_RETURN(const Expr* expr, ParseExpression());
    node->exprs.push_back(expr);
  }
  return node;
}

}  // namespace tradewind::engine::prompt
