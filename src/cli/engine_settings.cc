#include "cli/engine_settings.h"

#include <fmt/format.h>

#include "base/limits.h"

namespace tradewind::cli {
namespace {

constexpr int64_t kContextMax = 1 << 20;
constexpr int64_t kKvMemoryMbMax = limits::kKvBytesMax >> 20;

Status ReadCount(const Settings& settings, std::string_view flag, int64_t max, int& out) {
  if (FindFlag(settings.command(), flag) != nullptr) {
    TW_ASSIGN_OR_RETURN(const auto count, settings.Integer(flag, 1, max));
    out = count ? static_cast<int>(*count) : out;
  }
  return {};
}

}  // namespace

Result<engine::EngineOptions> ReadEngineOptions(const Settings& settings) {
  engine::EngineOptions options;
  TW_RETURN_IF_ERROR(ReadCount(settings, "ctx", kContextMax, options.context));
  TW_RETURN_IF_ERROR(ReadCount(settings, "slots", limits::kSlotsMax, options.slots));
  TW_RETURN_IF_ERROR(ReadCount(settings, "queue", limits::kQueuedSequencesMax, options.queue));
  if (settings.Text("threads") != "auto") {
    TW_RETURN_IF_ERROR(ReadCount(settings, "threads", limits::kThreadsMax, options.threads));
  }
  if (FindFlag(settings.command(), "kv-memory") != nullptr &&
      settings.Text("kv-memory") != "auto") {
    TW_ASSIGN_OR_RETURN(const auto megabytes, settings.Integer("kv-memory", 1, kKvMemoryMbMax));
    options.kv_bytes = megabytes.value_or(0) << 20;
  }
  if (FindFlag(settings.command(), "no-prefix-cache") != nullptr) {
    TW_ASSIGN_OR_RETURN(const bool off, settings.Switch("no-prefix-cache"));
    options.prefix_cache = !off;
  }
  TW_ASSIGN_OR_RETURN(const std::string kv, settings.Choice("kv"));
  for (const auto type : {engine::KvType::kF16, engine::KvType::kF32, engine::KvType::kQ8_0}) {
    options.kv_type = kv == engine::Name(type) ? type : options.kv_type;
  }
  TW_ASSIGN_OR_RETURN(const std::string activations, settings.Choice("activations"));
  for (const auto type : {engine::ActivationType::kF32, engine::ActivationType::kI16,
                          engine::ActivationType::kMixed, engine::ActivationType::kI8}) {
    options.activations = activations == engine::Name(type) ? type : options.activations;
  }
  TW_ASSIGN_OR_RETURN(const std::string kernels, settings.Choice("kernels"));
  options.kernels = kernels == "auto" ? "" : kernels;
  return options;
}

}  // namespace tradewind::cli
