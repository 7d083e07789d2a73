// The syntax tree of a template. Nodes live in one arena, so that a long chain of them costs no
// stack to destroy.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/prompt/value.h"

namespace tradewind::engine::prompt {

enum class ExprKind : uint8_t {
  kConst,
  kName,
  kList,
  kTuple,
  kDict,
  kNot,
  kNegative,
  kPositive,
  kAnd,
  kOr,
  kConcat,
  kArithmetic,
  kCompare,
  kConditional,
  kAttribute,
  kItem,
  kSlice,
  kCall,
  kFilter,
  kTest,
};

enum class Operator : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kFloorDiv,
  kMod,
  kPow,
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kIn,
  kNotIn,
};

struct Expr;
struct CallArgs {
  std::vector<const Expr*> positional;
  std::vector<std::pair<std::string, const Expr*>> named;
  const Expr* list = nullptr;     // *expression
  const Expr* mapping = nullptr;  // **expression
};

struct Expr {
  ExprKind kind;
  int line;
  Value constant;    // kConst
  std::string name;  // kName, kAttribute, kFilter, kTest
  // kList, kTuple, kConcat: elements. kDict: key, value, ... kAnd, kOr, kArithmetic, kCompare:
  // operands, left to right. kNot, kNegative, kPositive, kAttribute, kCall, kFilter (null: the text
  // of a block), kTest: the subject. kConditional: test, then, else (null: undefined). kItem:
  // subject, key. kSlice: start, stop, step, null if absent.
  std::vector<const Expr*> operands;
  std::vector<Operator> operators;  // kArithmetic, kCompare: one fewer than operands
  CallArgs args;                    // kCall, kFilter, kTest
};

enum class StmtKind : uint8_t {
  kOutput,
  kIf,
  kFor,
  kSet,
  kSetBlock,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kWith,
  kScope,
  kBreak,
  kContinue,
  kLoad,
  kAutoescape,
};

// Where a value goes: a name, an attribute of a namespace, or a tuple of targets.
struct Target {
  std::string name;
  std::string attribute;      // not empty: name.attribute
  std::vector<Target> parts;  // is_tuple
  bool is_tuple = false;
  int line = 0;
};

struct Stmt;
using Body = std::vector<const Stmt*>;

struct MacroDefinition {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<const Expr*> defaults;  // of the last parameters
  bool uses_caller = false, uses_kwargs = false, uses_varargs = false;
  Body body;
  int line = 0;
};

struct Stmt {
  StmtKind kind;
  int line;
  // kOutput: what to print; template text is a constant. kIf: one condition per branch. kFor: the
  // iterable, then the filter or null. kSet: the value. kSetBlock, kFilterBlock: the filter chain
  // or null. kWith: a value per target. kCallBlock: the call. kLoad: the name of the template.
  // kAutoescape: the switch.
  std::vector<const Expr*> exprs;
  std::vector<Body>
      bodies;  // kIf: one per condition, and else if it has one more. kFor: body, else.
  std::vector<Target> targets;  // kFor, kSet, kSetBlock: one. kWith: any number.
  MacroDefinition macro;        // kMacro, kCallBlock
  bool recursive = false;       // kFor
  bool isolated = false;        // kScope: sees only the top level, as {% block %} does
};

class Ast {
 public:
  Expr* New(ExprKind kind, int line) {
    exprs_.push_back(std::make_unique<Expr>(Expr{kind, line, {}, {}, {}, {}, {}}));
    return exprs_.back().get();
  }
  Stmt* NewStmt(StmtKind kind, int line) {
    stmts_.push_back(std::make_unique<Stmt>(Stmt{kind, line, {}, {}, {}, {}}));
    return stmts_.back().get();
  }
  size_t size() const { return exprs_.size() + stmts_.size(); }
  Body body;

 private:
  std::vector<std::unique_ptr<Expr>> exprs_;
  std::vector<std::unique_ptr<Stmt>> stmts_;
};

}  // namespace tradewind::engine::prompt
