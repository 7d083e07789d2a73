// Global functions of chat templates.
#include <algorithm>
#include <time.h>

#include "engine/prompt/access.h"
#include "engine/prompt/format.h"
#include "engine/prompt/operators.h"

namespace tradewind::engine::prompt {
namespace {

constexpr std::pair<std::string_view, Function> kFunctions[] = {
    {"range", Function::kRange},
    {"dict", Function::kDict},
    {"namespace", Function::kNamespace},
    {"cycler", Function::kCycler},
    {"joiner", Function::kJoiner},
    {"raise_exception", Function::kRaiseException},
    {"strftime_now", Function::kStrftimeNow},
};

constexpr int64_t kRangeLengthMax = 100'000;  // Jinja's sandbox has the same
constexpr size_t kTimeFormatBytesMax = 1024;

ValueResult MakeRange(Run& run, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind("range", args, {"start", "stop", "step"}, 1));
  TW_ASSIGN_OR_RETURN(const int64_t first, bound.Int(0, 0));
  TW_ASSIGN_OR_RETURN(const int64_t second, bound.Int(1, 0));
  TW_ASSIGN_OR_RETURN(const int64_t step, bound.Int(2, 1));
  if (!args.named.empty() ||
      std::ranges::any_of(args.positional, [](const Value& v) { return v.is(Kind::kNone); })) {
    return RunError("range() needs one to three integers");
  }
  if (step == 0) {
    return RunError("range() needs a step other than 0");
  }
  const bool from_data = std::ranges::any_of(args.positional, &Value::from_data);
  auto range = std::make_shared<Range>(&run.budget, bound.Has(1) ? first : 0,
                                       bound.Has(1) ? second : first, step, from_data);
  if (range->length > kRangeLengthMax) {
    return RunError("Range too big. The sandbox blocks ranges larger than {}.", kRangeLengthMax);
  }
  return Value(Kind::kRange, std::move(range));
}

// dict(mapping or pairs, **named), which namespace() takes too.
Result<Dict::Items> DictItems(Run& run, std::string_view callee, const Args& args) {
  Dict::Items items;
  if (args.positional.size() > 1) {
    return RunError("{}() takes at most 1 positional argument", callee);
  }
  if (!args.positional.empty() && args.positional[0].is(Kind::kDict)) {
    items = args.positional[0].dict().items;
  } else if (!args.positional.empty()) {
    TW_ASSIGN_OR_RETURN(const std::vector<Value> pairs, ToVector(run, args.positional[0]));
    for (const Value& pair : pairs) {
      TW_ASSIGN_OR_RETURN(const std::vector<Value> parts, ToVector(run, pair));
      if (parts.size() != 2 || HashKey(parts[0]).empty()) {
        return RunError("{}() needs pairs of a key and a value", callee);
      }
      items.emplace_back(parts[0], parts[1]);
    }
  }
  for (const auto& [name, value] : args.named) {
    items.emplace_back(run.TextOf(name, !args.names_from_data), value);
  }
  return items;
}

ValueResult MakeNamespace(Run& run, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Dict::Items items, DictItems(run, "namespace", args));
  auto space = std::make_shared<Namespace>(&run.budget);
  for (const auto& [key, value] : items) {
    const std::string name(key.is_string() ? key.text().view() : std::string_view());
    if (name.starts_with('_')) {
      return RunError("a namespace cannot have an attribute '{}' that starts with an underscore",
                      name);
    }
    if (key.is_string()) {
      space->Set(name, value);
    }
  }
  run.namespaces.push_back(space);
  return Value(Kind::kNamespace, std::move(space));
}

// One "%X", with at most one of glibc's flags in between.
Result<std::string> FormatTimeField(std::string_view field, const tm& time, int64_t microseconds) {
  static constexpr std::string_view kFields = "aAbBcCdDeFgGhHIjklmMnprRSStTuUVwWxXyY%";
  const char letter = field.back();
  if (letter == 'f') {
    return fmt::format("{:06}", microseconds);
  }
  if (letter == 'z' || letter == 'Z') {
    return std::string();  // Python's naive local time has neither
  }
  if (kFields.find(letter) == std::string_view::npos) {
    return RunError("strftime_now() does not know '{}'", field);
  }
  char buffer[256];
  const size_t size = ::strftime(buffer, sizeof buffer, std::string(field).c_str(), &time);
  return std::string(buffer, size);
}

ValueResult StrftimeNow(Run& run, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind("strftime_now", args, {"format"}, 1));
  TW_ASSIGN_OR_RETURN(const std::string format, bound.String(0, ""));
  if (format.size() > kTimeFormatBytesMax) {
    return RunError("strftime_now() takes formats of up to {} bytes", kTimeFormatBytesMax);
  }
  const auto since_epoch = run.clock.WallNow().time_since_epoch();
  const auto whole = std::chrono::floor<std::chrono::seconds>(since_epoch);
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(since_epoch - whole).count();
  const time_t seconds = whole.count();
  tm time{};
  if (::localtime_r(&seconds, &time) == nullptr) {
    return RunError("the clock shows a time that has no date");
  }
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out += format[i];
      continue;
    }
    const size_t flagged =
        std::string_view("-_0^#").find(format[i + 1]) != std::string_view::npos &&
        i + 2 < format.size();
    TW_ASSIGN_OR_RETURN(
        const std::string field,
        FormatTimeField(std::string_view(format).substr(i, 2 + flagged), time, micros));
    out += field;
    i += 1 + flagged;
  }
  return run.TextOf(out, !bound[0].text().any_data());
}

}  // namespace

bool GlobalExists(std::string_view name) {
  return std::ranges::find(kFunctions, name, [](const auto& entry) { return entry.first; }) !=
         std::end(kFunctions);
}

Value FindGlobal(std::string_view name) {
  const auto* at =
      std::ranges::find(kFunctions, name, [](const auto& entry) { return entry.first; });
  return at == std::end(kFunctions)
             ? Value()
             : Value(Kind::kFunction, std::make_shared<FunctionObject>(nullptr, at->second));
}

ValueResult CallFunction(Run& run, Function function, const Args& args) {
  switch (function) {
    case Function::kRange:
      return MakeRange(run, args);
    case Function::kDict: {
      TW_ASSIGN_OR_RETURN(Dict::Items items, DictItems(run, "dict", args));
      return MakeDict(&run.budget, std::move(items));
    }
    case Function::kNamespace:
      return MakeNamespace(run, args);
    case Function::kCycler:
      if (args.positional.empty() || !args.named.empty()) {
        return RunError("cycler() needs at least one item");
      }
      return Value(Kind::kCycler,
                   std::make_shared<Cycler>(&run.budget, MakeTuple(&run.budget, args.positional)));
    case Function::kJoiner: {
      TW_ASSIGN_OR_RETURN(const Bound bound, Bind("joiner", args, {"sep"}));
      return Value(
          Kind::kJoiner,
          std::make_shared<Joiner>(&run.budget, bound.Has(0) ? bound[0] : run.TextOf(", ", true)));
    }
    case Function::kRaiseException: {
      TW_ASSIGN_OR_RETURN(const Bound bound, Bind("raise_exception", args, {"message"}, 1));
      run.located = true;  // the message is the template author's own: nothing is put before it
      return Fail(ErrorCode::kTemplateFailed, std::string(ToStr(run, bound[0]).text().view()));
    }
    case Function::kStrftimeNow:
      return StrftimeNow(run, args);
  }
  return Value();
}

}  // namespace tradewind::engine::prompt
