#include "telemetry/log.h"

#include <cstdlib>
#include <memory>

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace tradewind::telemetry {
namespace {

spdlog::level::level_enum ToSpdlog(Level level) {
  switch (level) {
    case Level::kTrace:
      return spdlog::level::trace;
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarn:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
    case Level::kOff:
      return spdlog::level::off;
  }
  return spdlog::level::info;
}

// Never destroyed: threads that outlive main() may still log.
spdlog::logger& Logger() {
  static spdlog::logger& logger = *[] {
    auto* made =
        new spdlog::logger("tradewind", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %^%l%$ %v", spdlog::pattern_time_type::utc);
    const char* name = std::getenv("TRADEWIND_LOG");
    made->set_level(ToSpdlog(LevelFromName(name != nullptr ? name : "")));
    return made;
  }();
  return logger;
}

}  // namespace

void Log(Level level, std::string_view message) {
  Logger().log(ToSpdlog(level), spdlog::string_view_t(message.data(), message.size()));
}

bool LogEnabled(Level level) {
  return Logger().should_log(ToSpdlog(level));
}

void SetLogLevel(Level level) {
  Logger().set_level(ToSpdlog(level));
}

Level LevelFromName(std::string_view name) {
  if (name == "trace") {
    return Level::kTrace;
  }
  if (name == "debug") {
    return Level::kDebug;
  }
  if (name == "warn") {
    return Level::kWarn;
  }
  if (name == "error") {
    return Level::kError;
  }
  return name == "off" ? Level::kOff : Level::kInfo;
}

}  // namespace tradewind::telemetry
