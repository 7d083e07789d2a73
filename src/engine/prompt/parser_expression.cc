// The expression rules of the parser.
#include <charconv>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "engine/prompt/parser_impl.h"
#include "engine/prompt/text.h"

namespace tradewind::engine::prompt {
namespace {

// Counts a level of recursion while it lives.
class Level {
 public:
  explicit Level(int& depth) : depth_(depth) { ++depth_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;
  ~Level() { --depth_; }

 private:
  int& depth_;
};

constexpr size_t kIntegerDigitsMax = 4300;  // Python's bound

}  // namespace

const Expr* Parser::Constant(Value value, int line) {
  Expr* node = ast_.New(ExprKind::kConst, line);
  node->constant = std::move(value);
  return node;
}

Parser::ExprResult Parser::ParseExpression(bool with_conditional) {
  return with_conditional ? ParseConditional() : ParseOr();
}

Parser::ExprResult Parser::ParseConditional() {
  const Level level(depth_);
  TW_RETURN_IF_ERROR(CheckSize());
  const std::string unknown_before = first_unknown_;
  TW_ASSIGN_OR_RETURN(const Expr* value, ParseOr());
  while (AtName("if")) {
    first_unknown_ = unknown_before;  // what stands before `if` may never be reached
    const bool was_conditional = std::exchange(conditional_, true);
    Expr* node = ast_.New(ExprKind::kConditional, Current().line);
    Advance();
    TW_ASSIGN_OR_RETURN(const Expr* test, ParseOr());
    const Expr* other = nullptr;
    if (SkipName("else")) {
      TW_ASSIGN_OR_RETURN(other, ParseConditional());
    }
    conditional_ = was_conditional;
    node->operands = {test, value, other};
    value = node;
  }
  return value;
}

Parser::ExprResult Parser::ParseOr() {
  TW_ASSIGN_OR_RETURN(const Expr* first, ParseAnd());
  if (!AtName("or")) {
    return first;
  }
  Expr* node = ast_.New(ExprKind::kOr, first->line);
  node->operands.push_back(first);
  while (SkipName("or")) {
    TW_ASSIGN_OR_RETURN(const Expr* operand, ParseAnd());
    node->operands.push_back(operand);
  }
  return node;
}

Parser::ExprResult Parser::ParseAnd() {
  TW_ASSIGN_OR_RETURN(const Expr* first, ParseNot());
  if (!AtName("and")) {
    return first;
  }
  Expr* node = ast_.New(ExprKind::kAnd, first->line);
  node->operands.push_back(first);
  while (SkipName("and")) {
    TW_ASSIGN_OR_RETURN(const Expr* operand, ParseNot());
    node->operands.push_back(operand);
  }
  return node;
}

Parser::ExprResult Parser::ParseNot() {
  if (!AtName("not")) {
    return ParseCompare();
  }
  const Level level(depth_);
  TW_RETURN_IF_ERROR(CheckSize());
  Expr* node = ast_.New(ExprKind::kNot, Current().line);
  Advance();
  TW_ASSIGN_OR_RETURN(const Expr* operand, ParseNot());
  node->operands.push_back(operand);
  return node;
}

Parser::ExprResult Parser::ParseCompare() {
  static constexpr std::pair<std::string_view, Operator> kOperators[] = {
      {"==", Operator::kEq}, {"!=", Operator::kNe}, {"<", Operator::kLt},
      {"<=", Operator::kLe}, {">", Operator::kGt},  {">=", Operator::kGe}};
  TW_ASSIGN_OR_RETURN(const Expr* first, ParseSum());
  Expr* node = nullptr;
  while (true) {
    std::optional<Operator> found;
    for (const auto& [text, op] : kOperators) {
      if (SkipOperator(text)) {
        found = op;
        break;
      }
    }
    if (!found && SkipName("in")) {
      found = Operator::kIn;
    }
    if (!found && AtName("not") && Next().type == TokenType::kName && Next().value == "in") {
      Advance();
      Advance();
      found = Operator::kNotIn;
    }
    if (!found) {
      return node != nullptr ? node : first;
    }
    if (node == nullptr) {
      node = ast_.New(ExprKind::kCompare, first->line);
      node->operands.push_back(first);
    }
    TW_ASSIGN_OR_RETURN(const Expr* operand, ParseSum());
    node->operators.push_back(*found);
    node->operands.push_back(operand);
  }
}

Parser::ExprResult Parser::ParseLeftChain(
    Rule operand, std::initializer_list<std::pair<std::string_view, Operator>> ops) {
  TW_ASSIGN_OR_RETURN(const Expr* first, (this->*operand)());
  Expr* node = nullptr;
  while (true) {
    const auto* op = ops.begin();
    while (op != ops.end() && !AtOperator(op->first)) {
      ++op;
    }
    if (op == ops.end()) {
      return node != nullptr ? node : first;
    }
    if (node == nullptr) {
      node = ast_.New(ExprKind::kArithmetic, Current().line);
      node->operands.push_back(first);
    }
    Advance();
    TW_ASSIGN_OR_RETURN(const Expr* right, (this->*operand)());
    node->operators.push_back(op->second);
    node->operands.push_back(right);
  }
}

Parser::ExprResult Parser::ParseSum() {
  return ParseLeftChain(&Parser::ParseConcat, {{"+", Operator::kAdd}, {"-", Operator::kSub}});
}

Parser::ExprResult Parser::ParseConcat() {
  TW_ASSIGN_OR_RETURN(const Expr* first, ParseProduct());
  if (!AtOperator("~")) {
    return first;
  }
  Expr* node = ast_.New(ExprKind::kConcat, first->line);
  node->operands.push_back(first);
  while (SkipOperator("~")) {
    TW_ASSIGN_OR_RETURN(const Expr* operand, ParseProduct());
    node->operands.push_back(operand);
  }
  return node;
}

Parser::ExprResult Parser::ParseProduct() {
  return ParseLeftChain(&Parser::ParsePower, {{"*", Operator::kMul},
                                              {"/", Operator::kDiv},
                                              {"//", Operator::kFloorDiv},
                                              {"%", Operator::kMod}});
}

// Unlike Python's, Jinja's ** takes its left neighbour first and binds looser than a sign.
Parser::ExprResult Parser::ParsePower() {
  TW_ASSIGN_OR_RETURN(const Expr* first, ParseUnary());
  Expr* node = nullptr;
  while (AtOperator("**")) {
    if (node == nullptr) {
      node = ast_.New(ExprKind::kArithmetic, Current().line);
      node->operands.push_back(first);
    }
    Advance();
    TW_ASSIGN_OR_RETURN(const Expr* right, ParseUnary());
    node->operators.push_back(Operator::kPow);
    node->operands.push_back(right);
  }
  return node != nullptr ? node : first;
}

Parser::ExprResult Parser::ParseUnary(bool with_filter) {
  const Level level(depth_);
  TW_RETURN_IF_ERROR(CheckSize());
  const Expr* subject = nullptr;
  if (AtOperator("-") || AtOperator("+")) {
    Expr* node =
        ast_.New(AtOperator("-") ? ExprKind::kNegative : ExprKind::kPositive, Current().line);
    Advance();
    TW_ASSIGN_OR_RETURN(const Expr* operand, ParseUnary(false));
    node->operands.push_back(operand);
    subject = node;
  } else {
    TW_ASSIGN_OR_RETURN(subject, ParsePrimary());
  }
  TW_ASSIGN_OR_RETURN(subject, ParsePostfix(subject));
  return with_filter ? ParseFilters(subject) : subject;
}

Parser::ExprResult Parser::ParseName() {
  const Token& token = Current();
  const int line = token.line;
  const std::string name = token.value;
  Advance();
  if (name == "true" || name == "True" || name == "false" || name == "False") {
    return Constant(Value::Bool(name == "true" || name == "True"), line);
  }
  if (name == "none" || name == "None") {
    return Constant(Value::None(), line);
  }
  for (MacroDefinition* macro : macros_) {
    macro->uses_caller = macro->uses_caller || name == "caller";
    macro->uses_kwargs = macro->uses_kwargs || name == "kwargs";
    macro->uses_varargs = macro->uses_varargs || name == "varargs";
  }
  Expr* node = ast_.New(ExprKind::kName, line);
  node->name = name;
  return node;
}

Parser::ExprResult Parser::ParseInteger() {
  const std::string& digits = Current().value;
  const int line = Current().line;
  Value value;
  if (digits.size() > 2 && digits[0] == '0' && digits[1] > '9') {
    const int base = (digits[1] | 0x20) == 'x' ? 16 : (digits[1] | 0x20) == 'o' ? 8 : 2;
    int64_t number = 0;
    const char* end = digits.data() + digits.size();
    if (std::from_chars(digits.data() + 2, end, number, base).ec != std::errc()) {
      return FailHere("the integer does not fit into 64 bits");
    }
    value = Value::Int(number);
  } else if (digits.size() > kIntegerDigitsMax) {
    return FailHere(fmt::format("an integer has more than {} digits", kIntegerDigitsMax));
  } else {
    value = MakeInteger(nullptr, digits, false);
  }
  Advance();
  return Constant(std::move(value), line);
}

Parser::ExprResult Parser::ParsePrimary() {
  const int line = Current().line;
  switch (Current().type) {
    case TokenType::kName:
      return ParseName();
    case TokenType::kString: {
      std::string text;
      while (Current().type == TokenType::kString) {
        text += Current().value;
        Advance();
      }
      return Constant(MakeText(nullptr, text, true), line);
    }
    case TokenType::kInteger:
      return ParseInteger();
    case TokenType::kFloat: {
      const double number = std::strtod(Current().value.c_str(), nullptr);
      Advance();
      return Constant(Value::Float(number), line);
    }
    default:
      break;
  }
  if (SkipOperator("(")) {
    TW_ASSIGN_OR_RETURN(const Expr* inside, ParseTuple(true, "", true));
    TW_RETURN_IF_ERROR(ExpectOperator(")"));
    return inside;
  }
  if (AtOperator("[")) {
    return ParseList();
  }
  if (AtOperator("{")) {
    return ParseDict();
  }
  return Unexpected("expression");
}

// Expressions with commas between them make a tuple; one without a comma stands for itself.
Parser::ExprResult Parser::ParseTuple(bool with_conditional, std::string_view end_name,
                                      bool parenthesized) {
  const Level level(depth_);
  TW_RETURN_IF_ERROR(CheckSize());
  const int line = Current().line;
  std::vector<const Expr*> items;
  bool is_tuple = false;
  while (true) {
    const bool at_end = Current().type == TokenType::kVariableEnd ||
                        Current().type == TokenType::kBlockEnd || AtOperator(")") ||
                        (!end_name.empty() && AtName(end_name));
    if (at_end) {
      break;
    }
    TW_ASSIGN_OR_RETURN(const Expr* item, ParseExpression(with_conditional));
    items.push_back(item);
    if (!SkipOperator(",")) {
      break;
    }
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) {
    return items.front();
  }
  if (!is_tuple && !parenthesized) {
    return Unexpected("expression");
  }
  Expr* node = ast_.New(ExprKind::kTuple, line);
  node->operands = std::move(items);
  return node;
}

Parser::ExprResult Parser::ParseList() {
  Expr* node = ast_.New(ExprKind::kList, Current().line);
  Advance();
  while (!AtOperator("]")) {
    if (!node->operands.empty()) {
      TW_RETURN_IF_ERROR(ExpectOperator(","));
      if (AtOperator("]")) {
        break;
      }
    }
    TW_ASSIGN_OR_RETURN(const Expr* item, ParseExpression());
    node->operands.push_back(item);
  }
  Advance();
  return node;
}

Parser::ExprResult Parser::ParseDict() {
  Expr* node = ast_.New(ExprKind::kDict, Current().line);
  Advance();
  while (!AtOperator("}")) {
    if (!node->operands.empty()) {
      TW_RETURN_IF_ERROR(ExpectOperator(","));
      if (AtOperator("}")) {
        break;
      }
    }
    TW_ASSIGN_OR_RETURN(const Expr* key, ParseExpression());
    TW_RETURN_IF_ERROR(ExpectOperator(":"));
    TW_ASSIGN_OR_RETURN(const Expr* value, ParseExpression());
    node->operands.push_back(key);
    node->operands.push_back(value);
  }
  Advance();
  return node;
}

}  // namespace tradewind::engine::prompt
