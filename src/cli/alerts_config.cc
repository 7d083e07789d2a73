#include "cli/alerts_config.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "alerts/service.h"
#include "base/file.h"
#include "billing/usd.h"
#include "cli/market_config.h"
#include "cli/settings.h"
#include "cli/terminal.h"
#include "cli/toml_reader.h"
#include "http/url.h"
#include "telemetry/log.h"

namespace tradewind::cli {
namespace {

constexpr size_t kSecretBytesMin = 16, kSecretBytesMax = 4096;
constexpr size_t kWordsMax = 64;

}  // namespace

Status ReadAlertsConfig(std::string_view toml, const std::string& file, AlertsConfig& config,
                        std::vector<std::string>& warnings) {
  TW_ASSIGN_OR_RETURN(const toml::table root, ParseToml(toml, file));
  const toml::node* node = root.get("alerts");
  if (node == nullptr || !config.origin.empty()) {
    return {};
  }
  if (!node->is_table()) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: alerts must be a table: [alerts]", TomlPlace(file, node->source())),
        "alerts");
  }
  TomlReader reader(*node->as_table(), file, "alerts");
  AlertsConfig read;
  read.origin = TomlPlace(file, node->source());
  read.allow_private = reader.Flag("allow_private").value_or(false);
  if (const auto url = reader.Text("webhook")) {
    auto parsed = ParseBaseUrl(*url, read.allow_private);
    parsed ? static_cast<void>(read.webhook = std::move(*parsed))
           : reader.Wrong("webhook", parsed.error().message);
  }
  read.secret_env = reader.Text("webhook_secret_env").value_or("");
  if (const auto path = reader.Text("webhook_secret_file"); path && !path->empty()) {
    read.secret_file =
        (std::filesystem::path(file).parent_path() / *path).lexically_normal().string();
  }
  if (!read.secret_env.empty() && !read.secret_file.empty()) {
    reader.Wrong("webhook_secret_file", "and webhook_secret_env are both there; leave one out");
  }
  if (!read.webhook.empty() && read.secret_env.empty() && read.secret_file.empty()) {
    reader.Wrong(
        "webhook",
        "needs webhook_secret_env or webhook_secret_file: without a signature anyone could "
        "send such messages");
  }
  read.command = reader.Texts("command").value_or(std::vector<std::string>{});
  if (read.command.size() > kWordsMax || (!read.command.empty() && read.command.front().empty())) {
    reader.Wrong("command", "must be a list: a program, and its arguments one by one");
  }
  if (const auto text = reader.Text("velocity_usd")) {
    const auto amount = billing::ParseUsd(*text, "velocity_usd");
    amount
        ? static_cast<void>(read.velocity = *amount)
        : reader.Wrong("velocity_usd", "must be an amount of USD such as \"5\"; \"0\": no bound");
  }
  read.throttle = reader.Flag("throttle").value_or(false);
  TW_RETURN_IF_ERROR(reader.status());
  reader.WarnOfUnknown(warnings);
  config = std::move(read);
  return {};
}

Result<AlertsConfig> LoadAlertsConfig(const Settings& settings) {
  constexpr size_t kConfigBytesMax = 1 << 20;
  AlertsConfig config;
  std::vector<std::string> warnings;
  for (const std::filesystem::path& path : settings.config_files().paths) {
    if (const auto text = ReadFile(path, kConfigBytesMax); text.has_value()) {
      TW_RETURN_IF_ERROR(ReadAlertsConfig(*text, path.string(), config, warnings));
    }  // whoever read the settings has told what cannot be read
  }
  for (const std::string& warning : warnings) {
    telemetry::Log(telemetry::Level::kWarn, WithoutControls(warning));
  }
  return config;
}

alerts::Policy PolicyOf(const AlertsConfig& config) {
  alerts::Policy policy;
  policy.velocity = config.velocity;
  policy.throttle = config.throttle;
  policy.wants = {!config.webhook.empty(), !config.command.empty()};
  return policy;
}

Result<alerts::Config> MakeAlerts(
    const AlertsConfig& config,
    const std::function<std::optional<std::string>(const std::string&)>& environment) {
  alerts::Config out;
  out.policy = PolicyOf(config);
  out.allow_private = config.allow_private;
  out.command = config.command;
  if (config.webhook.empty()) {
    return out;
  }
  TW_ASSIGN_OR_RETURN(out.webhook, http::ParseUrl(config.webhook));
  if (!config.secret_env.empty()) {
    out.secret = environment(config.secret_env).value_or("");
  } else {
    TW_ASSIGN_OR_RETURN(out.secret, ReadFile(config.secret_file, kSecretBytesMax));
    while (out.secret.ends_with('\n') || out.secret.ends_with('\r')) {
      out.secret.pop_back();
    }
  }
  if (out.secret.size() < kSecretBytesMin) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: the webhook's secret is missing or shorter than {} characters; "
                            "set {}",
                            config.origin, kSecretBytesMin,
                            config.secret_env.empty() ? config.secret_file : config.secret_env),
                "alerts.webhook");
  }
  return out;
}

}  // namespace tradewind::cli
