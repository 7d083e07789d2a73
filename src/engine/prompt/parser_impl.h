// The parser's class, shared by parser.cc (statements) and parser_expression.cc (expressions).
// Recursive descent with one method per rule of Jinja's grammar.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/prompt/ast.h"
#include "engine/prompt/lexer.h"

namespace tradewind::engine::prompt {

class Parser {
 public:
  Parser(std::string_view source, int depth_max)
      : tokens_(Tokenize(source)), depth_max_(depth_max) {}
  Result<Ast> Run();

 private:
  using ExprResult = Result<const Expr*>;
  using StmtResult = Result<const Stmt*>;
  using Words = std::span<const std::string_view>;

  // --- tokens
  const Token& Current() const { return tokens_[at_]; }
  const Token& Next() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void Advance() { at_ = std::min(at_ + 1, tokens_.size() - 1); }
  bool AtOperator(std::string_view op) const {
    return Current().type == TokenType::kOperator && Current().value == op;
  }
  bool AtName(std::string_view name) const {
    return Current().type == TokenType::kName && Current().value == name;
  }
  bool AtAnyName(Words names) const;
  bool SkipOperator(std::string_view op);
  bool SkipName(std::string_view name);
  Status ExpectOperator(std::string_view op);
  Status ExpectName(std::string_view name);
  Status Expect(TokenType type, std::string_view what);
  Result<std::string> ExpectIdentifier();
  std::unexpected<Error> FailAt(int line, std::string_view message) const;
  // Fails at the current token; a lexical error there is reported instead.
  std::unexpected<Error> FailHere(std::string_view message) const;
  std::unexpected<Error> Unexpected(std::string_view expected) const;
  Status CheckSize() const;

  // --- statements
  Result<Body> ParseBody(Words ends);   // up to one of `ends`, which stays the current token
  Result<Body> ParseBlock(Words ends);  // the end of the opening tag, then the body
  StmtResult ParseStatement();
  StmtResult ParseStatementNamed(std::string_view tag, int line);
  StmtResult ParseIf(int line);
  StmtResult ParseFor(int line);
  StmtResult ParseSet(int line);
  StmtResult ParseMacro(int line);
  StmtResult ParseCallBlock(int line);
  StmtResult ParseFilterBlock(int line);
  StmtResult ParseWith(int line);
  StmtResult ParseGeneration(int line);
  StmtResult ParseNamedBlock(int line);
  StmtResult ParseAutoescape(int line);
  StmtResult ParseLoad(std::string_view tag, int line);
  StmtResult ParsePrint(int line);
  Status ParseSignature(MacroDefinition& macro);
  Status ParseMacroBody(MacroDefinition& macro, std::string_view end);
  Result<Target> ParseTarget(std::string_view end_name, bool with_namespace);
  Result<Target> ParseTargetPart(bool with_namespace);
  Result<Target> ToTarget(const Expr& expr);
  Result<Target> NameTarget(const std::string& name, int line);

  // --- expressions, loosest first
  ExprResult ParseExpression(bool with_conditional = true);
  ExprResult ParseConditional();
  ExprResult ParseOr();
  ExprResult ParseAnd();
  ExprResult ParseNot();
  ExprResult ParseCompare();
  ExprResult ParseSum();
  ExprResult ParseConcat();
  ExprResult ParseProduct();
  ExprResult ParsePower();
  ExprResult ParseUnary(bool with_filter = true);
  ExprResult ParsePrimary();
  ExprResult ParsePostfix(const Expr* subject);
  ExprResult ParseFilters(
      const Expr* subject);  // filters, tests and calls after a postfix expression
  ExprResult ParseFilter(const Expr* subject);
  ExprResult ParseTest(const Expr* subject);
  ExprResult ParseSubscript(const Expr* subject);
  ExprResult ParseSubscriptPart();
  ExprResult ParseCall(const Expr* subject);
  ExprResult ParseList();
  ExprResult ParseDict();
  ExprResult ParseName();
  ExprResult ParseInteger();
  ExprResult ParseTuple(bool with_conditional, std::string_view end_name, bool parenthesized);
  Status ParseCallArgs(CallArgs& args);
  Result<std::string> ParseDottedName();
  // operand (op operand)*, folded into one node.
  using Rule = ExprResult (Parser::*)();
  ExprResult ParseLeftChain(Rule operand,
                            std::initializer_list<std::pair<std::string_view, Operator>> ops);
  const Expr* Constant(Value value, int line);
  void CheckKnown(bool known, std::string_view what, const std::string& name, int line);

  std::vector<Token> tokens_;
  size_t at_ = 0;
  Ast ast_;
  const int depth_max_;
  int depth_ = 0;
  int loops_ = 0;      // enclosing loops that break and continue may address
  int any_loops_ = 0;  // enclosing loops, across macros too: `loop` cannot be assigned inside
  bool conditional_ =
      false;  // inside `if`: an unknown filter or test fails only when it is reached
  std::vector<MacroDefinition*> macros_;
  std::vector<std::string> open_tags_;
  std::vector<std::string> block_names_;
  std::string first_unknown_;  // the first unknown filter or test outside `if`, with its line
};

}  // namespace tradewind::engine::prompt
