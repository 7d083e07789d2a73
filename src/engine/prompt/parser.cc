#include "engine/prompt/parser.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/limits.h"
#include "engine/prompt/parser_impl.h"
#include "engine/prompt/text.h"

namespace tradewind::engine::prompt {
namespace {

constexpr size_t kNodesMax = 1 << 18;  // about 50 MiB; published templates have about 2,000

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

std::string Describe(const Token& token) {
  switch (token.type) {
    case TokenType::kData:
      return "template text";
    case TokenType::kVariableBegin:
      return "start of print statement";
    case TokenType::kVariableEnd:
      return "end of print statement";
    case TokenType::kBlockBegin:
      return "start of statement block";
    case TokenType::kBlockEnd:
      return "end of statement block";
    case TokenType::kEnd:
      return "end of template";
    default:
      return token.value;
  }
}

}  // namespace

Result<Ast> ParseTemplate(std::string_view source, int depth_max) {
  if (static_cast<int64_t>(source.size()) > limits::kTemplateSourceBytesMax) {
    return Fail(ErrorCode::kTemplateFailed,
                fmt::format("line 1: the template is longer than {} bytes",
                            limits::kTemplateSourceBytesMax));
  }
  return Parser(source, depth_max).Run();
}

std::unexpected<Error> Parser::FailAt(int line, std::string_view message) const {
  return Fail(ErrorCode::kTemplateFailed, fmt::format("line {}: {}", line, message));
}

std::unexpected<Error> Parser::FailHere(std::string_view message) const {
  return FailAt(Current().line, Current().type == TokenType::kError ? Current().value : message);
}

std::unexpected<Error> Parser::Unexpected(std::string_view expected) const {
  return FailHere(fmt::format("expected '{}', got '{}'", expected, Describe(Current())));
}

Status Parser::CheckSize() const {
  if (depth_ > depth_max_) {
    return FailHere(fmt::format("nested deeper than {} levels", depth_max_));
  }
  if (ast_.size() > kNodesMax) {
    return FailHere(fmt::format("the template has more than {} parts", kNodesMax));
  }
  return {};
}

bool Parser::AtAnyName(Words names) const {
  return Current().type == TokenType::kName &&
         std::ranges::find(names, Current().value) != names.end();
}

bool Parser::SkipOperator(std::string_view op) {
  const bool found = AtOperator(op);
  if (found) {
    Advance();
  }
  return found;
}

bool Parser::SkipName(std::string_view name) {
  const bool found = AtName(name);
  if (found) {
    Advance();
  }
  return found;
}

Status Parser::ExpectOperator(std::string_view op) {
  return SkipOperator(op) ? Status() : Unexpected(op);
}

Status Parser::ExpectName(std::string_view name) {
  return SkipName(name) ? Status() : Unexpected(name);
}

Status Parser::Expect(TokenType type, std::string_view what) {
  if (Current().type != type) {
    return Unexpected(what);
  }
  Advance();
  return {};
}

Result<std::string> Parser::ExpectIdentifier() {
  if (Current().type != TokenType::kName) {
    return Unexpected("name");
  }
  std::string name = Current().value;
  Advance();
  return name;
}

void Parser::CheckKnown(bool known, std::string_view what, const std::string& name, int line) {
  if (!known && !conditional_ && first_unknown_.empty()) {
    first_unknown_ = fmt::format("line {}: there is no {} named '{}'", line, what, name);
  }
}

Result<Ast> Parser::Run() {
  TW_ASSIGN_OR_RETURN(ast_.body, ParseBody({}));
  if (!first_unknown_.empty()) {
    return Fail(ErrorCode::kTemplateFailed, first_unknown_);
  }
  return std::move(ast_);
}

Result<Body> Parser::ParseBody(Words ends) {
  Body body;
  Stmt* output = nullptr;
  const auto print = [&](const Expr* expr) {
    if (output == nullptr) {
      output = ast_.NewStmt(StmtKind::kOutput, expr->line);
      body.push_back(output);
    }
    output->exprs.push_back(expr);
  };
  while (true) {
    const int line = Current().line;
    switch (Current().type) {
      case TokenType::kData:
        print(Constant(MakeText(nullptr, Current().value, true), line));
        Advance();
        break;
      case TokenType::kVariableBegin: {
        Advance();
        TW_ASSIGN_OR_RETURN(const Expr* expr, ParseTuple(true, "", false));
        print(expr);
        TW_RETURN_IF_ERROR(Expect(TokenType::kVariableEnd, "end of print statement"));
        break;
      }
      case TokenType::kBlockBegin: {
        output = nullptr;
        Advance();
        if (AtAnyName(ends)) {
          return body;
        }
        TW_ASSIGN_OR_RETURN(const Stmt* statement, ParseStatement());
        body.push_back(statement);
        TW_RETURN_IF_ERROR(Expect(TokenType::kBlockEnd, "end of statement block"));
        break;
      }
      case TokenType::kEnd:
        if (ends.empty()) {
          return body;
        }
        return FailHere(fmt::format("the template ends inside '{}': '{}' is missing",
                                    open_tags_.back(), fmt::join(ends, "' or '")));
      default:
        return FailHere("the template cannot be read here");
    }
    TW_RETURN_IF_ERROR(CheckSize());
  }
}

Result<Body> Parser::ParseBlock(Words ends) {
  SkipOperator(":");
  TW_RETURN_IF_ERROR(Expect(TokenType::kBlockEnd, "end of statement block"));
  return ParseBody(ends);
}

Parser::StmtResult Parser::ParseStatement() {
  if (Current().type != TokenType::kName) {
    return FailHere("tag name expected");
  }
  const std::string tag = Current().value;
  const int line = Current().line;
  Advance();
  ++depth_;
  TW_RETURN_IF_ERROR(CheckSize());
  open_tags_.push_back(tag);
  auto statement = ParseStatementNamed(tag, line);
  open_tags_.pop_back();
  --depth_;
  return statement;
}

Parser::StmtResult Parser::ParseStatementNamed(std::string_view tag, int line) {
  if (tag == "if") {
    return ParseIf(line);
  }
  if (tag == "for") {
    return ParseFor(line);
  }
  if (tag == "set") {
    return ParseSet(line);
  }
  if (tag == "macro") {
    return ParseMacro(line);
  }
  if (tag == "call") {
    return ParseCallBlock(line);
  }
  if (tag == "filter") {
    return ParseFilterBlock(line);
  }
  if (tag == "with") {
    return ParseWith(line);
  }
  if (tag == "generation") {
    return ParseGeneration(line);
  }
  if (tag == "block") {
    return ParseNamedBlock(line);
  }
  if (tag == "autoescape") {
    return ParseAutoescape(line);
  }
  if (tag == "print") {
    return ParsePrint(line);
  }
  if (tag == "extends" || tag == "include" || tag == "import" || tag == "from") {
    return ParseLoad(tag, line);
  }
  if (tag == "break" || tag == "continue") {
    if (loops_ == 0) {
      return FailAt(line, fmt::format("'{}' outside a loop", tag));
    }
    return ast_.NewStmt(tag == "break" ? StmtKind::kBreak : StmtKind::kContinue, line);
  }
  const std::string open = open_tags_.size() < 2 ? std::string()
                                                 : fmt::format("; the innermost open block is '{}'",
                                                               open_tags_[open_tags_.size() - 2]);
  return FailAt(line, fmt::format("unknown tag '{}'{}", tag, open));
}

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

Result<Target> Parser::NameTarget(const std::string& name, int line) {
  static constexpr std::string_view kConstants[] = {"true", "false", "none",
                                                    "True", "False", "None"};
  if (std::ranges::find(kConstants, name) != std::end(kConstants)) {
    return FailAt(line, fmt::format("cannot assign to the constant '{}'", name));
  }
  if (name == "loop" && any_loops_ > 0) {
    return FailAt(line, "cannot assign to 'loop' inside a loop");
  }
  Target target;
  target.name = name;
  target.line = line;
  return target;
}

Result<Target> Parser::ToTarget(const Expr& expr) {
  if (expr.kind == ExprKind::kName) {
    return NameTarget(expr.name, expr.line);
  }
  if (expr.kind != ExprKind::kTuple) {
    return FailAt(expr.line, "cannot assign to an expression");
  }
  Target target;
  target.is_tuple = true;
  target.line = expr.line;
  for (const Expr* item : expr.operands) {
    TW_ASSIGN_OR_RETURN(Target part, ToTarget(*item));
    target.parts.push_back(std::move(part));
  }
  return target;
}

Result<Target> Parser::ParseTargetPart(bool with_namespace) {
  const int line = Current().line;
  if (with_namespace && Current().type == TokenType::kName && Next().type == TokenType::kOperator &&
      Next().value == ".") {
    Target target;
    target.name = Current().value;
    target.line = line;
    Advance();
    Advance();
    TW_ASSIGN_OR_RETURN(target.attribute, ExpectIdentifier());
    return target;
  }
  TW_ASSIGN_OR_RETURN(const Expr* expr, ParsePrimary());
  return ToTarget(*expr);
}

Result<Target> Parser::ParseTarget(std::string_view end_name, bool with_namespace) {
  Target tuple;
  tuple.line = Current().line;
  while (true) {
    const bool at_end = Current().type == TokenType::kBlockEnd || AtOperator(")") ||
                        (!end_name.empty() && AtName(end_name));
    if (at_end) {
      break;
    }
    TW_ASSIGN_OR_RETURN(Target part, ParseTargetPart(with_namespace));
    tuple.parts.push_back(std::move(part));
    if (!SkipOperator(",")) {
      break;
    }
    tuple.is_tuple = true;
  }
  if (tuple.is_tuple) {
    return tuple;
  }
  if (tuple.parts.empty()) {
    return FailHere(fmt::format("a name is missing before '{}'", Describe(Current())));
  }
  Target single = std::move(tuple.parts.front());
  return single;
}

}  // namespace tradewind::engine::prompt
