// Values of the template language: Python's types as far as templates use them. JSON becomes None,
// bool, int, float, str, list and dict; a running template adds tuples, ranges, iterators,
// namespaces, macros and loops.
//
// Provenance: a text knows for each byte whether the template wrote it or data did (text.h); a
// scalar knows whether it came out of data. Containers need no mark: what they hold has one. Values
// are cheap to copy (shared objects). Lists, tuples, dicts and texts never change once made.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "engine/prompt/budget.h"

namespace tradewind::engine::prompt {

enum class Kind : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,     // 64 bits; arithmetic beyond them is an error, never a wrong number
  kBigInt,  // an integer literal or JSON number beyond 64 bits: printed and compared, no arithmetic
  kFloat,
  kString,
  kBytes,  // str.encode()
  kList,
  kTuple,
  kDict,
  kDictView,  // keys(), values(), items()
  kRange,
  kIterator,  // what map, select, reverse ... give: can be read once
  kNamespace,
  kLoop,
  kMacro,
  kMethod,    // a method bound to its value
  kFunction,  // a global function
  kCycler,
  kJoiner,
};

// The base of everything that lives on the heap. Counted against the budget of the rendering that
// made it.
class Object {
 public:
  explicit Object(Budget* budget) : charge_(budget) {}
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;

  // Levels of values below this one; bounded, so that recursion over values (and their destruction)
  // is.
  int depth() const { return depth_; }

 protected:
  MemoryCharge charge_;
  int depth_ = 0;
};

class Text;
struct List;
struct Dict;

class Value {
 public:
  Value() = default;  // undefined, without a story

  static Value None(bool from_data = false) { return Value(Kind::kNone, from_data); }
  static Value Bool(bool value, bool from_data = false) {
    Value v(Kind::kBool, from_data);
    v.integer_ = value ? 1 : 0;
    return v;
  }
  static Value Int(int64_t value, bool from_data = false) {
    Value v(Kind::kInt, from_data);
    v.integer_ = value;
    return v;
  }
  static Value Float(double value, bool from_data = false) {
    Value v(Kind::kFloat, from_data);
    v.real_ = value;
    return v;
  }
  Value(Kind kind, std::shared_ptr<Object> object, bool from_data = false)
      : kind_(kind), from_data_(from_data), object_(std::move(object)) {}

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_sequence() const { return kind_ == Kind::kList || kind_ == Kind::kTuple; }
  // An int or a bool, which Python counts as one.
  bool is_integral() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }
  bool is_number() const { return is_integral() || kind_ == Kind::kFloat; }

  // True for a scalar that came out of a message, a tool or another variable.
  bool from_data() const { return from_data_; }

  bool boolean() const { return integer_ != 0; }
  int64_t integer() const { return integer_; }
  double real() const { return kind_ == Kind::kFloat ? real_ : static_cast<double>(integer_); }
  const Text& text() const;
  const List& list() const;  // list or tuple
  const Dict& dict() const;
  template <class T>
  T& as() const {
    return static_cast<T&>(*object_);
  }
  const std::shared_ptr<Object>& object() const { return object_; }

 private:
  Value(Kind kind, bool from_data) : kind_(kind), from_data_(from_data) {}

  Kind kind_ = Kind::kUndefined;
  bool from_data_ = false;
  union {
    int64_t integer_ = 0;
    double real_;
  };
  std::shared_ptr<Object> object_;
};

// Why a value is undefined: the message that any use of it gives.
struct UndefinedInfo final : Object {
  UndefinedInfo(Budget* budget, std::string why);
  const std::string message;
};

struct BigInt final : Object {
  BigInt(Budget* budget, std::string decimal);
  const std::string digits;  // decimal, with a leading '-' when negative
};

struct List final : Object {  // list and tuple
  List(Budget* budget, std::vector<Value> values);
  const std::vector<Value> items;
  bool is_group = false;  // a pair made by groupby: also has .grouper and .list
};

// Keeps the order of insertion; equal keys (1, 1.0, true) are one key.
struct Dict final : Object {
  using Items = std::vector<std::pair<Value, Value>>;
  // Later values replace earlier ones of an equal key. Every key must be hashable (HashKey in
  // operators.h).
  Dict(Budget* budget, Items entries);
  Items items;
  const Value* Find(const Value& key) const;  // null also when the key is not hashable
  const Value* Find(std::string_view key) const;

 private:
  std::map<std::string, uint32_t, std::less<>> index_;  // by hash key
};

struct DictView final : Object {
  enum class Part : uint8_t { kKeys, kValues, kItems };
  DictView(Budget* budget, Value mapping, Part which);
  const Value dict;
  const Part part;
};

struct Range final : Object {
  Range(Budget* budget, int64_t first, int64_t end, int64_t by, bool bounds_from_data);
  const int64_t start, stop, step;
  const bool from_data;
  int64_t length;
  Value At(int64_t i) const { return Value::Int(start + i * step, from_data); }
};

// Reads a value's elements one by one. Iterating an iterator continues it.
struct Iterator final : Object {
  Iterator(Budget* budget, Value iterated, std::string_view type_name);
  // False at the end.
  bool Next(Value& item);
  const Value source;           // string, list, tuple, dict, view or range
  const std::string_view type;  // Python's name of the type, for error messages
 private:
  size_t position_ = 0;  // bytes of a string, elements of anything else
};

struct Namespace final : Object {
  explicit Namespace(Budget* budget);
  void Set(const std::string& name, Value value);
  std::map<std::string, Value, std::less<>> attributes;
};

// Every global function; the names they go by are in globals.cc.
enum class Function : uint8_t {
  kRange,
  kDict,
  kNamespace,
  kCycler,
  kJoiner,
  kRaiseException,
  kStrftimeNow,
};
struct FunctionObject final : Object {
  FunctionObject(Budget* budget, Function which) : Object(budget), function(which) {}
  const Function function;
};

struct Method final : Object {
  Method(Budget* budget, Value receiver, std::string_view method);
  const Value self;
  const std::string name;
};

struct Cycler final : Object {
  Cycler(Budget* budget, Value values);
  const Value items;  // a tuple, not empty
  size_t position = 0;
};

struct Joiner final : Object {
  Joiner(Budget* budget, Value between);
  const Value separator;
  bool used = false;
};

Value MakeUndefined(Budget* budget, std::string message);
// `digits`: an optional '-' and decimal digits. An int when it fits into 64 bits.
Value MakeInteger(Budget* budget, std::string_view digits, bool from_data);
Value MakeList(Budget* budget, std::vector<Value> items);
Value MakeTuple(Budget* budget, std::vector<Value> items);
Value MakeDict(Budget* budget, Dict::Items items);
Value MakeIterator(Budget* budget, std::vector<Value> items);  // a generator over these

// Python's name of the type: "str", "NoneType", ...
std::string_view TypeName(const Value& value);

// A text that identifies a value as a key: equal for equal values. Empty when the value is not
// hashable.
std::string HashKey(const Value& value);

// Parses JSON text into a value, keeping the order of keys and the difference between integers and
// floats. All text in it is data. Errors: kInvalidArgument with the byte offset (syntax, invalid
// UTF-8, nesting beyond kJsonDepthMax).
Result<Value> ValueFromJson(std::string_view json, Budget* budget = nullptr);

}  // namespace tradewind::engine::prompt
