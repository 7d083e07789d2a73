// What follows an operand: subscripts, calls, filters, tests.
#include "engine/prompt/parser_impl.h"
#include "engine/prompt/runtime.h"

namespace tradewind::engine::prompt {

Parser::ExprResult Parser::ParsePostfix(const Expr* subject) {
  while (true) {
    if (AtOperator(".") || AtOperator("[")) {
      TW_ASSIGN_OR_RETURN(subject, ParseSubscript(subject));
    } else if (AtOperator("(")) {
      TW_ASSIGN_OR_RETURN(subject, ParseCall(subject));
    } else {
      return subject;
    }
  }
}

Parser::ExprResult Parser::ParseFilters(const Expr* subject) {
  while (true) {
    if (SkipOperator("|")) {
      TW_ASSIGN_OR_RETURN(subject, ParseFilter(subject));
    } else if (AtName("is")) {
      Advance();
      TW_ASSIGN_OR_RETURN(subject, ParseTest(subject));
    } else if (AtOperator("(")) {
      TW_ASSIGN_OR_RETURN(subject, ParseCall(subject));
    } else {
      return subject;
    }
  }
}

Parser::ExprResult Parser::ParseSubscript(const Expr* subject) {
  const int line = Current().line;
  if (SkipOperator(".")) {
    if (Current().type == TokenType::kName) {
      Expr* node = ast_.New(ExprKind::kAttribute, line);
      node->name = Current().value;
      node->operands.push_back(subject);
      Advance();
      return node;
    }
    if (Current().type != TokenType::kInteger) {
      return Unexpected("name or number");
    }
    TW_ASSIGN_OR_RETURN(const Expr* index, ParseInteger());
    Expr* node = ast_.New(ExprKind::kItem, line);
    node->operands = {subject, index};
    return node;
  }
  Advance();
  std::vector<const Expr*> parts;
  while (!AtOperator("]")) {
    if (!parts.empty()) {
      TW_RETURN_IF_ERROR(ExpectOperator(","));
    }
    TW_ASSIGN_OR_RETURN(const Expr* part, ParseSubscriptPart());
    parts.push_back(part);
  }
  Advance();
  Expr* node = ast_.New(ExprKind::kItem, line);
  if (parts.size() == 1) {
    node->operands = {subject, parts.front()};
    return node;
  }
  Expr* tuple = ast_.New(ExprKind::kTuple, line);
  tuple->operands = std::move(parts);
  node->operands = {subject, tuple};
  return node;
}

Parser::ExprResult Parser::ParseSubscriptPart() {
  const int line = Current().line;
  const Expr* parts[3] = {nullptr, nullptr, nullptr};
  const auto at_edge = [this] { return AtOperator(":") || AtOperator("]") || AtOperator(","); };
  if (!AtOperator(":")) {
    TW_ASSIGN_OR_RETURN(parts[0], ParseExpression());
    if (!AtOperator(":")) {
      return parts[0];
    }
  }
  Advance();
  if (!at_edge()) {
    TW_ASSIGN_OR_RETURN(parts[1], ParseExpression());
  }
  if (SkipOperator(":") && !at_edge()) {
    TW_ASSIGN_OR_RETURN(parts[2], ParseExpression());
  }
  Expr* node = ast_.New(ExprKind::kSlice, line);
  node->operands.assign(parts, parts + 3);
  return node;
}

Status Parser::ParseCallArgs(CallArgs& args) {
  const int line = Current().line;
  TW_RETURN_IF_ERROR(ExpectOperator("("));
  bool first = true;
  const auto ensure = [&](bool fine) -> Status {
    return fine ? Status() : FailAt(line, "the arguments of a call are in a wrong order");
  };
  while (!AtOperator(")")) {
    if (!first) {
      TW_RETURN_IF_ERROR(ExpectOperator(","));
      if (AtOperator(")")) {
        break;
      }
    }
    first = false;
    if (SkipOperator("*")) {
      TW_RETURN_IF_ERROR(ensure(args.list == nullptr && args.mapping == nullptr));
      TW_ASSIGN_OR_RETURN(args.list, ParseExpression());
    } else if (SkipOperator("**")) {
      TW_RETURN_IF_ERROR(ensure(args.mapping == nullptr));
      TW_ASSIGN_OR_RETURN(args.mapping, ParseExpression());
    } else if (Current().type == TokenType::kName && Next().type == TokenType::kOperator &&
               Next().value == "=") {
      TW_RETURN_IF_ERROR(ensure(args.mapping == nullptr));
      const std::string name = Current().value;
      Advance();
      Advance();
      TW_ASSIGN_OR_RETURN(const Expr* value, ParseExpression());
      args.named.emplace_back(name, value);
    } else {
      TW_RETURN_IF_ERROR(
          ensure(args.list == nullptr && args.mapping == nullptr && args.named.empty()));
      TW_ASSIGN_OR_RETURN(const Expr* value, ParseExpression());
      args.positional.push_back(value);
    }
  }
  Advance();
  return {};
}

Parser::ExprResult Parser::ParseCall(const Expr* subject) {
  Expr* node = ast_.New(ExprKind::kCall, Current().line);
  node->operands.push_back(subject);
  TW_RETURN_IF_ERROR(ParseCallArgs(node->args));
  return node;
}

Result<std::string> Parser::ParseDottedName() {
  TW_ASSIGN_OR_RETURN(std::string name, ExpectIdentifier());
  while (SkipOperator(".")) {
    TW_ASSIGN_OR_RETURN(const std::string part, ExpectIdentifier());
    name += "." + part;
  }
  return name;
}

Parser::ExprResult Parser::ParseFilter(const Expr* subject) {
  Expr* node = ast_.New(ExprKind::kFilter, Current().line);
  node->operands.push_back(subject);
  TW_ASSIGN_OR_RETURN(node->name, ParseDottedName());
  CheckKnown(FilterExists(node->name), "filter", node->name, node->line);
  if (AtOperator("(")) {
    TW_RETURN_IF_ERROR(ParseCallArgs(node->args));
  }
  return node;
}

Parser::ExprResult Parser::ParseTest(const Expr* subject) {
  const int line = Current().line;
  const bool negated = SkipName("not");
  Expr* node = ast_.New(ExprKind::kTest, line);
  node->operands.push_back(subject);
  TW_ASSIGN_OR_RETURN(node->name, ParseDottedName());
  CheckKnown(TestExists(node->name), "test", node->name, line);
  const TokenType type = Current().type;
  if (AtOperator("(")) {
    TW_RETURN_IF_ERROR(ParseCallArgs(node->args));
  } else if (AtOperator("[") || AtOperator("{") || type == TokenType::kString ||
             type == TokenType::kInteger || type == TokenType::kFloat ||
             (type == TokenType::kName && !AtName("else") && !AtName("or") && !AtName("and"))) {
    if (AtName("is")) {
      return FailHere("tests cannot be chained with 'is'");
    }
    TW_ASSIGN_OR_RETURN(const Expr* argument, ParsePrimary());
    TW_ASSIGN_OR_RETURN(argument, ParsePostfix(argument));
    node->args.positional.push_back(argument);
  }
  if (!negated) {
    return node;
  }
  Expr* inverse = ast_.New(ExprKind::kNot, line);
  inverse->operands.push_back(node);
  return inverse;
}

}  // namespace tradewind::engine::prompt
