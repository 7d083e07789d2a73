// The words after `is`.
#include <algorithm>

#include "engine/prompt/access.h"
#include "engine/prompt/format.h"
#include "engine/prompt/operators.h"

namespace tradewind::engine::prompt {
namespace {

using TestFunction = Result<bool> (*)(Run&, std::string_view name, const Value& subject,
                                      const Value* argument);

struct TestEntry {
  std::string_view name;
  TestFunction function;
  int arguments;
};

Result<bool> TypeTest(Run&, std::string_view name, const Value& v, const Value*) {
  const Kind kind = v.kind();
  if (name == "defined") {
    return kind != Kind::kUndefined;
  }
  if (name == "undefined") {
    return kind == Kind::kUndefined;
  }
  if (name == "none") {
    return kind == Kind::kNone;
  }
  if (name == "boolean") {
    return kind == Kind::kBool;
  }
  if (name == "true") {
    return kind == Kind::kBool && v.boolean();
  }
  if (name == "false") {
    return kind == Kind::kBool && !v.boolean();
  }
  if (name == "integer") {
    return kind == Kind::kInt || kind == Kind::kBigInt;
  }
  if (name == "float") {
    return kind == Kind::kFloat;
  }
  if (name == "number") {
    return v.is_number() || kind == Kind::kBigInt;
  }
  if (name == "string") {
    return kind == Kind::kString;
  }
  if (name == "mapping") {
    return kind == Kind::kDict;
  }
  if (name == "iterable") {
    return IsIterable(v);
  }
  if (name == "escaped") {
    return kind == Kind::kString && v.text().markup();
  }
  if (name == "callable") {
    return kind == Kind::kFunction || kind == Kind::kMethod || kind == Kind::kMacro ||
           kind == Kind::kJoiner || kind == Kind::kLoop || kind == Kind::kUndefined;
  }
  // sequence: has a length and can be indexed
  return kind == Kind::kString || kind == Kind::kBytes || v.is_sequence() || kind == Kind::kDict ||
         kind == Kind::kRange || kind == Kind::kUndefined;
}

Result<bool> RemainderTest(Run& run, std::string_view name, const Value& subject,
                           const Value* argument) {
  if (subject.is_string() || subject.is_undefined()) {
    return subject.is_undefined() ? UndefinedError(subject) : RunError("'{}' needs a number", name);
  }
  const Value divisor = argument != nullptr ? *argument : Value::Int(2);
  TW_ASSIGN_OR_RETURN(const Value rest, Arithmetic(run, Operator::kMod, subject, divisor));
  return Equals(run, rest, Value::Int(name == "odd" ? 1 : 0));
}

Result<bool> CompareTest(Run& run, std::string_view name, const Value& subject,
                         const Value* argument) {
  static constexpr std::pair<std::string_view, Operator> kOperators[] = {
      {"==", Operator::kEq},       {"eq", Operator::kEq},          {"equalto", Operator::kEq},
      {"!=", Operator::kNe},       {"ne", Operator::kNe},          {">", Operator::kGt},
      {"gt", Operator::kGt},       {"greaterthan", Operator::kGt}, {">=", Operator::kGe},
      {"ge", Operator::kGe},       {"<", Operator::kLt},           {"lt", Operator::kLt},
      {"lessthan", Operator::kLt}, {"<=", Operator::kLe},          {"le", Operator::kLe},
      {"in", Operator::kIn}};
  const auto* at =
      std::ranges::find(kOperators, name, [](const auto& entry) { return entry.first; });
  return Compare(run, at->second, subject, *argument);
}

Result<bool> CaseTest(Run& run, std::string_view name, const Value& subject, const Value*) {
  TW_ASSIGN_OR_RETURN(
      const Value result,
      CallStringMethod(run, ToStr(run, subject), name == "lower" ? "islower" : "isupper", {}));
  return result.boolean();
}

Result<bool> SameTest(Run& run, std::string_view, const Value& subject, const Value* other) {
  if (subject.object() != nullptr || other->object() != nullptr) {
    return subject.object() == other->object();
  }
  return subject.kind() == other->kind() && Equals(run, subject, *other);
}

Result<bool> NameTest(Run&, std::string_view name, const Value& subject, const Value*) {
  if (!subject.is_string()) {
    return false;
  }
  return name == "filter" ? FilterExists(subject.text().view()) : TestExists(subject.text().view());
}

constexpr TestEntry kTests[] = {
    {"odd", RemainderTest, 0},
    {"even", RemainderTest, 0},
    {"divisibleby", RemainderTest, 1},
    {"defined", TypeTest, 0},
    {"undefined", TypeTest, 0},
    {"filter", NameTest, 0},
    {"test", NameTest, 0},
    {"none", TypeTest, 0},
    {"boolean", TypeTest, 0},
    {"false", TypeTest, 0},
    {"true", TypeTest, 0},
    {"integer", TypeTest, 0},
    {"float", TypeTest, 0},
    {"lower", CaseTest, 0},
    {"upper", CaseTest, 0},
    {"string", TypeTest, 0},
    {"mapping", TypeTest, 0},
    {"number", TypeTest, 0},
    {"sequence", TypeTest, 0},
    {"iterable", TypeTest, 0},
    {"callable", TypeTest, 0},
    {"sameas", SameTest, 1},
    {"escaped", TypeTest, 0},
    {"in", CompareTest, 1},
    {"==", CompareTest, 1},
    {"eq", CompareTest, 1},
    {"equalto", CompareTest, 1},
    {"!=", CompareTest, 1},
    {"ne", CompareTest, 1},
    {">", CompareTest, 1},
    {"gt", CompareTest, 1},
    {"greaterthan", CompareTest, 1},
    {"ge", CompareTest, 1},
    {">=", CompareTest, 1},
    {"<", CompareTest, 1},
    {"lt", CompareTest, 1},
    {"lessthan", CompareTest, 1},
    {"<=", CompareTest, 1},
    {"le", CompareTest, 1},
};

const TestEntry* FindTest(std::string_view name) {
  const auto* at = std::ranges::find(kTests, name, &TestEntry::name);
  return at == std::end(kTests) ? nullptr : at;
}

}  // namespace

bool TestExists(std::string_view name) {
  return FindTest(name) != nullptr;
}

Result<bool> ApplyTest(Run& run, std::string_view name, const Value& subject, const Args& args) {
  const TestEntry* test = FindTest(name);
  if (test == nullptr) {
    return RunError("there is no test named '{}'", name);
  }
  const size_t given = args.positional.size() + args.named.size();
  if (given != static_cast<size_t>(test->arguments)) {
    return RunError("the test '{}' takes {} argument{}", name, test->arguments,
                    test->arguments == 1 ? "" : "s");
  }
  const Value* argument = given == 0                ? nullptr
                          : args.positional.empty() ? &args.named[0].second
                                                    : &args.positional[0];
  return test->function(run, name, subject, argument);
}

}  // namespace tradewind::engine::prompt
