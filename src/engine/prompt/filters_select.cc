// Filters that apply another filter, test or attribute to each element; and default, attr.
#include "engine/prompt/access.h"
#include "engine/prompt/filters.h"
#include "engine/prompt/operators.h"

namespace tradewind::engine::prompt {
namespace {

// The name of a filter or test among the arguments, and what is left of them for it.
Result<std::string> TakeName(Args& args, size_t at, std::string_view what) {
  if (!args.positional[at].is_string()) {
    return RunError("the name of a {} must be a string", what);
  }
  std::string name(args.positional[at].text().view());
  args.positional.erase(args.positional.begin(),
                        args.positional.begin() + static_cast<int64_t>(at) + 1);
  return name;
}

ValueResult MapFilter(Run& run, std::string_view, const Value& subject, const Args& args) {
  if (!Truth(subject)) {  // nothing is looked at, so that even 0 and none will do
    return MakeIterator(&run.budget, {});
  }
  std::vector<Value> result;
  TW_ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(run, subject));
  if (args.positional.empty()) {
    TW_ASSIGN_OR_RETURN(const Bound bound, Bind("map", args, {"attribute", "default"}, 1));
    const AttributePath path = ParsePath(run, bound[0]);
    for (const Value& item : items) {
      TW_ASSIGN_OR_RETURN(Value value, Follow(run, path, item, bound.Find(1)));
      result.push_back(std::move(value));
    }
    return MakeIterator(&run.budget, std::move(result));
  }
  Args rest = args;
  TW_ASSIGN_OR_RETURN(const std::string name, TakeName(rest, 0, "filter"));
  for (const Value& item : items) {
    run.budget.SpendSteps(1);
    TW_ASSIGN_OR_RETURN(Value value, ApplyFilter(run, name, item, rest));
    result.push_back(std::move(value));
  }
  return MakeIterator(&run.budget, std::move(result));
}

// select, reject, selectattr, rejectattr.
ValueResult SelectFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  const bool by_attribute = name.ends_with("attr"), wanted = name.starts_with("select");
  const size_t test_at = by_attribute ? 1 : 0;
  if (args.positional.size() < test_at) {
    return RunError("{}() needs the name of an attribute", name);
  }
  const AttributePath path = by_attribute ? ParsePath(run, args.positional[0]) : AttributePath();
  Args rest = args;
  std::string test;
  if (args.positional.size() > test_at) {
    TW_ASSIGN_OR_RETURN(test, TakeName(rest, test_at, "test"));
  }
  if (!Truth(subject)) {
    return MakeIterator(&run.budget, {});
  }
  TW_ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(run, subject));
  std::vector<Value> result;
  for (const Value& item : items) {
    run.budget.SpendSteps(1);
    TW_ASSIGN_OR_RETURN(const Value value, Follow(run, path, item));
    bool holds = false;
    if (test.empty()) {
      holds = Truth(value);
    } else {
      TW_ASSIGN_OR_RETURN(holds, ApplyTest(run, test, value, rest));
    }
    if (holds == wanted) {
      result.push_back(item);
    }
  }
  return MakeIterator(&run.budget, std::move(result));
}

ValueResult DefaultFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"default_value", "boolean"}));
  if (subject.is_undefined() || (bound.Bool(1, false) && !Truth(subject))) {
    return bound.Has(0) ? bound[0] : run.TextOf("", true);
  }
  return subject;
}

ValueResult AttrFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"name"}, 1));
  TW_ASSIGN_OR_RETURN(const std::string attribute, bound.String(0, ""));
  return GetAttributeOnly(run, subject, attribute);
}

}  // namespace

const std::initializer_list<FilterEntry> kSelectFilters = {
    {"attr", AttrFilter},     {"d", DefaultFilter},         {"default", DefaultFilter},
    {"map", MapFilter},       {"reject", SelectFilter},     {"rejectattr", SelectFilter},
    {"select", SelectFilter}, {"selectattr", SelectFilter},
};

}  // namespace tradewind::engine::prompt
