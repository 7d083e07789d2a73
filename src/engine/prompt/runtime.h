// What every part of a running template shares: the budget, the clock, arguments of calls, and the
// tables of filters, tests, methods and functions.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/result.h"
#include "engine/prompt/text.h"
#include "engine/prompt/value.h"

namespace tradewind::engine::prompt {

using ValueResult = Result<Value>;

struct Run {
  Run(const TemplateLimits& bounds, const Clock& time) : budget(bounds), clock(time) {}
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run();

  Budget budget;
  const Clock& clock;
  int depth = 0;  // nested calls of the interpreter
  bool printing_namespace = false;
  bool located = false;  // the error on its way up names its line already
  // Everything that can be changed after it was made, and so could hold itself. Kept to the end and
  // emptied there.
  std::vector<std::shared_ptr<Namespace>> namespaces;
  std::vector<std::function<void()>> at_end;

  Value TextOf(std::string_view bytes, bool literal) { return MakeText(&budget, bytes, literal); }
  // An error once the budget is exhausted.
  Status Check() const;
};

// An error while rendering; the interpreter puts "line N: " before it.
template <class... Args>
std::unexpected<Error> RunError(fmt::format_string<Args...> format, Args&&... args) {
  return Fail(ErrorCode::kTemplateFailed, fmt::format(format, std::forward<Args>(args)...));
}

struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
  bool names_from_data = false;  // names came out of a mapping (**d) that holds data
};

// Arguments matched with the names of parameters.
class Bound {
 public:
  bool Has(size_t i) const { return values_[i].has_value(); }
  const Value& operator[](size_t i) const { return *values_[i]; }
  const Value* Find(size_t i) const { return Has(i) ? &*values_[i] : nullptr; }
  // Missing means `otherwise`; a value of another type is an error.
  Result<int64_t> Int(size_t i, int64_t otherwise) const;
  Result<std::string> String(size_t i, std::string_view otherwise) const;
  bool Bool(size_t i, bool otherwise) const;  // any value, by its truth

 private:
  friend Result<Bound> Bind(std::string_view, const Args&, std::initializer_list<std::string_view>,
                            size_t);
  std::vector<std::optional<Value>> values_;
};

// Errors: too many arguments, unknown names, a required one (the first `required`) missing.
Result<Bound> Bind(std::string_view callee, const Args& args,
                   std::initializer_list<std::string_view> names, size_t required = 0);

// --- filters (filters*.cc)
bool FilterExists(std::string_view name);
ValueResult ApplyFilter(Run& run, std::string_view name, const Value& subject, const Args& args);

// --- tests, the words after `is` (tests_builtin.cc)
bool TestExists(std::string_view name);
Result<bool> ApplyTest(Run& run, std::string_view name, const Value& subject, const Args& args);

// --- methods of str, bytes, list, tuple, dict (methods_*.cc)
bool StringMethodExists(std::string_view name);
ValueResult CallStringMethod(Run& run, const Value& self, std::string_view name, const Args& args);
bool ContainerMethodExists(const Value& self, std::string_view name);
ValueResult CallContainerMethod(Run& run, const Value& self, std::string_view name,
                                const Args& args);

// --- functions (globals.cc)
// Null when there is none of this name.
Value FindGlobal(std::string_view name);
bool GlobalExists(std::string_view name);
ValueResult CallFunction(Run& run, Function function, const Args& args);

}  // namespace tradewind::engine::prompt
