// help, man, completion, __complete, version, config.
#include <fmt/format.h>

#include "cli/help.h"
#include "cli/home.h"
#include "cli/json_output.h"
#include "cli/model_file.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "engine/kernels/kernels.h"

namespace tradewind::cli {
namespace {

std::vector<std::string> AvailableKernels() {
  std::vector<std::string> out;
  for (const engine::Kernels* kernels :
       {engine::Avx512Kernels(), engine::Avx2Kernels(), &engine::ScalarKernels()}) {
    if (kernels != nullptr) {
      out.emplace_back(kernels->name);
    }
  }
  return out;
}

// The settings of `serve` that a config file can hold, and who bills, which is flags of `bill`.
std::vector<const Flag*> ConfigurableFlags() {
  std::vector<const Flag*> out;
  for (const Flag& flag : FindCommand("serve")->flags) {
    if (!flag.config.empty()) {
      out.push_back(&flag);
    }
  }
  for (const Flag& flag : FindCommand("bill")->flags) {
    if (flag.config.starts_with("billing.")) {
      out.push_back(&flag);
    }
  }
  return out;
}

// Every setting with its value, if it has one: those of flags, then those that only a file holds.
std::vector<std::pair<std::string, std::optional<ConfigValue>>> Effective(
    const Settings& settings) {
  std::vector<std::pair<std::string, std::optional<ConfigValue>>> out;
  for (const Flag* flag : ConfigurableFlags()) {
    const auto value = settings.Find(*flag);
    out.emplace_back(flag->config,
                     value ? std::optional(ConfigValue{value->text, value->origin}) : std::nullopt);
  }
  ConfigValues rest = settings.market_values();
  const catalog::RouteConfig built_in;
  rest.try_emplace("route.default",
                   ConfigValue{std::string(RoutePolicyName(built_in.default_policy)), "built-in"});
  rest.try_emplace("route.fallback",
                   ConfigValue{std::string(FallbackName(built_in.fallback)), "built-in"});
  rest.try_emplace("route.data_policy",
                   ConfigValue{std::string(DataRuleName(built_in.data_policy)), "built-in"});
  rest.try_emplace("route.probes",
                   ConfigValue{std::string(ProbeRuleName(built_in.probes)), "built-in"});
  rest.try_emplace("route.continuation", ConfigValue{"false", "built-in"});
  rest.try_emplace("route.hedge", ConfigValue{"false", "built-in"});
  rest.try_emplace("route.hedge_after_ms", ConfigValue{"0", "built-in"});
  for (const auto& [key, value] : rest) {
    out.emplace_back(key, value);
  }
  for (const char* key : {"route.order", "server.cors_origins"}) {
    if (!rest.contains(key)) {
      out.emplace_back(key, std::nullopt);
    }
  }
  return out;
}

Result<ExitCode> GetConfig(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const bool with_origin, settings.Switch("origin"));
  const std::string key = settings.Words(1).empty() ? "" : settings.Words(1).front();
  auto json = BeginJson("config");
  json.Key("values").BeginArray();
  std::string text;
  bool found = false;
  for (const auto& [name, value] : Effective(settings)) {
    if (!key.empty() && key != name) {
      continue;
    }
    found = true;
    json.BeginObject().Field("key", name);
    FieldOrNull(json, "value", value ? std::optional(value->text) : std::nullopt);
    FieldOrNull(json, "origin", value ? std::optional(value->origin) : std::nullopt);
    json.EndObject();
    text += key.empty() ? fmt::format("{} = ", name) : "";
    text += value ? value->text : "";
    text += with_origin && value ? fmt::format("  ({})\n", value->origin) : "\n";
  }
  json.EndArray();
  if (!found) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("there is no key \"{}\"; `tradewind config get` lists them", key),
                "KEY");
  }
  Print(as_json ? EndJson(json) : WithoutControls(text));
  return ExitCode::kDone;
}

}  // namespace

Result<ExitCode> RunHelp(const Settings& settings) {
  if (settings.Words(0).empty()) {
    Print(HelpText());
    return ExitCode::kDone;
  }
  const std::string verb = settings.Words(0).front();
  const Command* command = FindCommand(verb);
  if (command == nullptr) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("there is no verb \"{}\"; `tradewind help` lists them", verb), "VERB");
  }
  Print(HelpText(*command));
  return ExitCode::kDone;
}

Result<ExitCode> RunMan(const Settings&) {
  Print(ManPage());
  return ExitCode::kDone;
}

Result<ExitCode> RunCompletion(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const std::string script, CompletionScript(settings.Words(0).front()));
  Print(script);
  return ExitCode::kDone;
}

Result<ExitCode> RunComplete(const Settings& settings) {
  const std::string what = settings.Words(0).front();
  const std::string prefix = settings.Words(1).empty() ? "" : settings.Words(1).front();
  std::vector<std::string> candidates;
  if (what == "verbs") {
    for (const Command& command : Commands()) {
      if (!command.hidden) {
        candidates.emplace_back(command.name);
      }
    }
  } else if (const auto models = ScanModels(settings)) {
    for (const catalog::LocalModel& model : models->models()) {
      candidates.push_back(WithoutControls(model.id));
    }
  }
  for (const std::string& candidate : candidates) {
    if (candidate.starts_with(prefix)) {
      Print(candidate + "\n");
    }
  }
  return ExitCode::kDone;
}

Result<ExitCode> RunVersion(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  if (!as_json) {
    Print(fmt::format("tradewind {}\n", TW_VERSION));
    return ExitCode::kDone;
  }
  auto json = BeginJson("version");
  json.Field("version", TW_VERSION)
      .Field("compiler", __VERSION__)
      .Field("cplusplus", static_cast<int64_t>(__cplusplus));
  json.Key("kernels").BeginArray();
  for (const std::string& name : AvailableKernels()) {
    json.Value(name);
  }
  json.EndArray();
  Print(EndJson(json));
  return ExitCode::kDone;
}

Result<ExitCode> RunConfig(const Settings& settings) {
  if (settings.Words(0).front() == "get") {
    return GetConfig(settings);
  }
  for (const std::filesystem::path& path : settings.config_files().paths) {
    std::error_code ignored;
    Print(fmt::format("{}{}\n", path.string(),
                      std::filesystem::exists(path, ignored) ? "" : "  (not there)"));
  }
  return ExitCode::kDone;
}

}  // namespace tradewind::cli
