#include "engine/prompt/runtime.h"

#include <algorithm>

#include "engine/prompt/filters.h"
#include "engine/prompt/operators.h"

namespace tradewind::engine::prompt {

Run::~Run() {
  // Break whatever refers to itself, one object at a time: each is still held here, so no chain of
  // them unwinds.
  for (const auto& space : namespaces) {
    space->attributes.clear();
  }
  for (const auto& clear : at_end) {
    clear();
  }
}

Status Run::Check() const {
  return budget.ok() ? Status() : Status(Fail(ErrorCode::kTemplateFailed, budget.Message()));
}

Result<int64_t> Bound::Int(size_t i, int64_t otherwise) const {
  if (!Has(i) || values_[i]->is(Kind::kNone)) {
    return otherwise;
  }
  if (values_[i]->is_undefined()) {
    return UndefinedError(*values_[i]);
  }
  if (!values_[i]->is_integral()) {
    return RunError("an integer is needed, not {}", TypeName(*values_[i]));
  }
  return values_[i]->integer();
}

Result<std::string> Bound::String(size_t i, std::string_view otherwise) const {
  if (!Has(i)) {
    return std::string(otherwise);
  }
  if (!values_[i]->is_string()) {
    return RunError("a string is needed, not {}", TypeName(*values_[i]));
  }
  return std::string(values_[i]->text().view());
}

bool Bound::Bool(size_t i, bool otherwise) const {
  return Has(i) ? Truth(*values_[i]) : otherwise;
}

Result<Bound> Bind(std::string_view callee, const Args& args,
                   std::initializer_list<std::string_view> names, size_t required) {
  Bound bound;
  bound.values_.resize(names.size());
  if (args.positional.size() > names.size()) {
    return RunError("{}() takes at most {} arguments", callee, names.size());
  }
  for (size_t i = 0; i < args.positional.size(); ++i) {
    bound.values_[i] = args.positional[i];
  }
  for (const auto& [name, value] : args.named) {
    const auto at = static_cast<size_t>(std::ranges::find(names, name) - names.begin());
    if (at == names.size()) {
      return RunError("{}() has no parameter '{}'", callee, name);
    }
    if (bound.values_[at]) {
      return RunError("{}() got two values for '{}'", callee, name);
    }
    bound.values_[at] = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!bound.values_[i]) {
      return RunError("{}() needs an argument '{}'", callee, names.begin()[i]);
    }
  }
  return bound;
}

namespace {

FilterFunction FindFilter(std::string_view name) {
  for (const auto* table :
       {&kTextFilters, &kMarkupFilters, &kNumberFilters, &kSequenceFilters, &kSelectFilters}) {
    for (const FilterEntry& entry : *table) {
      if (entry.name == name) {
        return entry.function;
      }
    }
  }
  return nullptr;
}

}  // namespace

bool FilterExists(std::string_view name) {
  return FindFilter(name) != nullptr;
}

ValueResult ApplyFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  const FilterFunction filter = FindFilter(name);
  if (filter == nullptr) {
    return RunError("there is no filter named '{}'", name);
  }
  TW_ASSIGN_OR_RETURN(Value value, filter(run, name, subject, args));
  TW_RETURN_IF_ERROR(run.Check());
  return value;
}

}  // namespace tradewind::engine::prompt
