// Methods of bytes, list, tuple, dict, cycler; the sandbox hides those that change their object
// (access.cc).
#include <algorithm>

#include "engine/prompt/access.h"
#include "engine/prompt/operators.h"

namespace tradewind::engine::prompt {
namespace {

bool IsOneOf(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, name) != names.end();
}

ValueResult CallListMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  if (name == "copy") {
    TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
    return self;
  }
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"value", "start", "stop"}, 1));
  const auto& items = self.list().items;
  if (name == "count") {
    const auto count = std::ranges::count_if(
        items, [&](const Value& item) { return Equals(run, item, bound[0]); });
    return Value::Int(count);
  }
  TW_ASSIGN_OR_RETURN(const SliceRange range, ResolveSlice(static_cast<int64_t>(items.size()),
                                                           bound.Find(1), bound.Find(2), nullptr));
  for (int64_t i = range.start; i < range.start + range.count; ++i) {
    if (Equals(run, items[static_cast<size_t>(i)], bound[0])) {
      return Value::Int(i);
    }
  }
  return RunError("the value is not in the {}", TypeName(self));
}

ValueResult CallDictMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  if (name == "get") {
    TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"key", "default"}, 1));
    if (HashKey(bound[0]).empty()) {
      return RunError("unhashable type: '{}'", TypeName(bound[0]));
    }
    const Value* found = self.dict().Find(bound[0]);
    return found != nullptr ? *found : bound.Has(1) ? bound[1] : Value::None();
  }
  if (name == "fromkeys") {
    TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"iterable", "value"}, 1));
    TW_ASSIGN_OR_RETURN(const std::vector<Value> keys, ToVector(run, bound[0]));
    Dict::Items items;
    for (const Value& key : keys) {
      if (HashKey(key).empty()) {
        return RunError("unhashable type: '{}'", TypeName(key));
      }
      items.emplace_back(key, bound.Has(1) ? bound[1] : Value::None());
    }
    return MakeDict(&run.budget, std::move(items));
  }
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  if (name == "copy") {
    return self;
  }
  const DictView::Part part = name == "keys"     ? DictView::Part::kKeys
                              : name == "values" ? DictView::Part::kValues
                                                 : DictView::Part::kItems;
  return Value(Kind::kDictView, std::make_shared<DictView>(&run.budget, self, part));
}

ValueResult CallCyclerMethod(const Value& self, std::string_view name, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  auto& cycler = self.as<Cycler>();
  if (name == "reset") {
    cycler.position = 0;
    return Value::None();
  }
  const Value item = cycler.items.list().items[cycler.position];
  cycler.position = (cycler.position + 1) % cycler.items.list().items.size();
  return item;
}

}  // namespace

bool ContainerMethodExists(const Value& self, std::string_view name) {
  switch (self.kind()) {
    case Kind::kBytes:
      return name == "decode";
    case Kind::kList:
      return IsOneOf(name, {"index", "count", "copy"});
    case Kind::kTuple:
    case Kind::kRange:
      return IsOneOf(name, {"index", "count"});
    case Kind::kDict:
      return IsOneOf(name, {"get", "keys", "values", "items", "copy", "fromkeys"});
    default:
      return false;
  }
}

ValueResult CallContainerMethod(Run& run, const Value& self, std::string_view name,
                                const Args& args) {
  switch (self.kind()) {
    case Kind::kBytes: {
      TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"encoding", "errors"}));
      return Value(Kind::kString, self.object());
    }
    case Kind::kList:
    case Kind::kTuple:
      return CallListMethod(run, self, name, args);
    case Kind::kRange: {
      TW_ASSIGN_OR_RETURN(std::vector<Value> items, ToVector(run, self));
      return CallListMethod(run, MakeList(&run.budget, std::move(items)), name, args);
    }
    case Kind::kDict:
      return CallDictMethod(run, self, name, args);
    case Kind::kCycler:
      return CallCyclerMethod(self, name, args);
    default:
      return RunError("'{}' object has no method '{}'", TypeName(self), name);
  }
}

}  // namespace tradewind::engine::prompt
