// The interpreter's calls: macros, recursive loops, methods, and the attributes of loops and
// macros.
#include <algorithm>

#include "engine/prompt/access.h"
#include "engine/prompt/interpreter.h"
#include "engine/prompt/operators.h"

namespace tradewind::engine::prompt {
namespace {

ValueResult CallLoopMethod(Run& run, LoopObject& loop, std::string_view name, const Args& args) {
  if (!args.named.empty()) {
    return RunError("loop.{}() takes no named arguments", name);
  }
  if (name == "cycle") {
    if (args.positional.empty()) {
      return RunError("no items for cycling given");
    }
    return args.positional[static_cast<size_t>(loop.index0) % args.positional.size()];
  }
  const Value now = MakeTuple(&run.budget, args.positional);
  const bool changed = !loop.any_changed || !Equals(run, loop.last_changed, now);
  if (changed) {
    loop.any_changed = true;
    loop.last_changed = now;
  }
  return Value::Bool(changed);
}

}  // namespace

ValueResult GetLoopAttribute(Run& run, const Value& value, std::string_view name) {
  auto& loop = value.as<LoopObject>();
  if (name == "index") {
    return Value::Int(loop.index0 + 1);
  }
  if (name == "index0") {
    return Value::Int(loop.index0);
  }
  if (name == "first") {
    return Value::Bool(loop.index0 == 0);
  }
  if (name == "depth") {
    return Value::Int(loop.depth0 + 1);
  }
  if (name == "depth0") {
    return Value::Int(loop.depth0);
  }
  if (name == "cycle" || name == "changed") {
    return Value(Kind::kMethod, std::make_shared<Method>(&run.budget, value, name));
  }
  if (name == "previtem") {
    return loop.index0 > 0 ? loop.previous
                           : MakeUndefined(&run.budget, "there is no previous item");
  }
  const bool looks_ahead = name == "last" || name == "nextitem" || name == "length" ||
                           name == "revindex" || name == "revindex0";
  if (!looks_ahead) {
    return Value();
  }
  if (loop.pull == nullptr) {
    return RunError("the loop is over");
  }
  if (name == "last" || name == "nextitem") {
    TW_ASSIGN_OR_RETURN(const Value* next, loop.Peek());
    if (name == "last") {
      return Value::Bool(next == nullptr);
    }
    return next != nullptr ? *next : MakeUndefined(&run.budget, "there is no next item");
  }
  TW_ASSIGN_OR_RETURN(const int64_t length, loop.Length());
  return Value::Int(name == "length" ? length
                                     : length - loop.index0 - (name == "revindex" ? 0 : 1));
}

ValueResult GetMacroAttribute(Run& run, const Value& value, std::string_view name) {
  const MacroDefinition& macro = *value.as<MacroObject>().definition;
  if (name == "name") {
    return run.TextOf(macro.name, true);
  }
  if (name == "catch_kwargs") {
    return Value::Bool(macro.uses_kwargs);
  }
  if (name == "catch_varargs") {
    return Value::Bool(macro.uses_varargs);
  }
  if (name == "caller") {
    return Value::Bool(macro.uses_caller);
  }
  if (name != "arguments") {
    return Value();
  }
  std::vector<Value> names;
  for (const std::string& parameter : macro.parameters) {
    names.push_back(run.TextOf(parameter, true));
  }
  return MakeTuple(&run.budget, std::move(names));
}

ValueResult Interpreter::Call(const Value& callee, const Args& args) {
  switch (callee.kind()) {
    case Kind::kFunction:
      return CallFunction(run_, callee.as<FunctionObject>().function, args);
    case Kind::kMethod:
      return CallMethod(callee.as<Method>(), args);
    case Kind::kMacro:
      return CallMacro(callee.as<MacroObject>(), args);
    case Kind::kJoiner: {
      auto& joiner = callee.as<Joiner>();
      return std::exchange(joiner.used, true) ? joiner.separator : run_.TextOf("", true);
    }
    case Kind::kLoop: {
      const auto& loop = callee.as<LoopObject>();
      TW_ASSIGN_OR_RETURN(const Bound bound, Bind("loop", args, {"iterable"}, 1));
      if (loop.node == nullptr || loop.scope == nullptr) {
        return RunError("only a loop marked 'recursive' can be called");
      }
      TextBuilder text(&run_.budget);
      TW_ASSIGN_OR_RETURN(const Flow flow,
                          RunLoop(*loop.node, bound[0], loop.scope, loop.depth0 + 1, text));
      (void)flow;
      return text.Finish();
    }
    case Kind::kUndefined:
      return UndefinedError(callee);
    default:
      return RunError("'{}' object is not callable", TypeName(callee));
  }
}

ValueResult Interpreter::CallMethod(const Method& method, const Args& args) {
  if (method.self.is(Kind::kLoop)) {
    return CallLoopMethod(run_, method.self.as<LoopObject>(), method.name, args);
  }
  return method.self.is_string() ? CallStringMethod(run_, method.self, method.name, args)
                                 : CallContainerMethod(run_, method.self, method.name, args);
}

ValueResult Interpreter::CallMacro(const MacroObject& macro, const Args& args) {
  TW_ASSIGN_OR_RETURN(const ScopePtr scope, Enter(macro.closure));
  TW_RETURN_IF_ERROR(BindMacro(*macro.definition, args, scope));
  TextBuilder text(&run_.budget);
  TW_ASSIGN_OR_RETURN(const Flow flow, ExecBody(macro.definition->body, scope, text));
  (void)flow;
  return text.Finish();
}

Status Interpreter::BindMacro(const MacroDefinition& definition, const Args& args,
                              const ScopePtr& scope) {
  const auto& parameters = definition.parameters;
  auto named = args.named;
  const auto take = [&named](std::string_view name) -> std::optional<Value> {
    const auto at = std::ranges::find(
        named, name, [](const auto& entry) { return std::string_view(entry.first); });
    if (at == named.end()) {
      return std::nullopt;
    }
    Value value = std::move(at->second);
    named.erase(at);
    return value;
  };
  for (size_t i = 0; i < parameters.size(); ++i) {
    std::optional<Value> value =
        i < args.positional.size() ? std::optional(args.positional[i]) : take(parameters[i]);
    const size_t from_end = parameters.size() - i;
    if (!value && from_end <= definition.defaults.size()) {
      TW_ASSIGN_OR_RETURN(value,
                          Eval(*definition.defaults[definition.defaults.size() - from_end], scope));
    }
    scope->Set(parameters[i],
               value ? *std::move(value)
                     : MakeUndefined(&run_.budget, fmt::format("parameter '{}' was not provided",
                                                               parameters[i])));
  }
  if (definition.uses_caller) {
    std::optional<Value> caller = take("caller");
    scope->Set("caller", caller && !caller->is(Kind::kNone)
                             ? *std::move(caller)
                             : MakeUndefined(&run_.budget, "No caller defined"));
  }
  if (definition.uses_kwargs) {
    Dict::Items items;
    for (auto& [name, value] : named) {
      items.emplace_back(run_.TextOf(name, !args.names_from_data), std::move(value));
    }
    scope->Set("kwargs", MakeDict(&run_.budget, std::move(items)));
  } else if (!named.empty()) {
    return RunError("macro '{}' takes no keyword argument '{}'", definition.name,
                    named.front().first);
  }
  const size_t taken = std::min(parameters.size(), args.positional.size());
  if (definition.uses_varargs) {
    scope->Set("varargs",
               MakeTuple(&run_.budget, {args.positional.begin() + static_cast<int64_t>(taken),
                                        args.positional.end()}));
  } else if (args.positional.size() > parameters.size()) {
    return RunError("macro '{}' takes not more than {} argument(s)", definition.name,
                    parameters.size());
  }
  return {};
}

}  // namespace tradewind::engine::prompt
