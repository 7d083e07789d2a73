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
