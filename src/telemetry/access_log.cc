#include "telemetry/access_log.h"

#include <ctime>
#include <utility>

#include <boost/json/serialize.hpp>
#include <fmt/format.h>
#include <spdlog/async.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include "base/limits.h"
#include "base/utf8.h"

namespace tradewind::telemetry {
namespace {

// RFC 3339 in UTC with milliseconds.
std::string FormatTime(std::chrono::system_clock::time_point time) {
  using std::chrono::milliseconds;
  const auto since_epoch = std::chrono::floor<milliseconds>(time.time_since_epoch()).count();
  int64_t ms = since_epoch % 1000;
  auto seconds = static_cast<std::time_t>(since_epoch / 1000);
  if (ms < 0) {
    ms += 1000;
    --seconds;
  }
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, ms);
}

void AppendText(std::string& line, std::string_view name, std::string_view value) {
  if (!value.empty()) {
    line += fmt::format(",\"{}\":{}", name, boost::json::serialize(ReplaceInvalidUtf8(value)));
  }
}

class SpdlogAccessLog final : public AccessLog {
 public:
  explicit SpdlogAccessLog(spdlog::sink_ptr sink)
      : pool_(std::make_shared<spdlog::details::thread_pool>(limits::kAccessLogQueuedMax, 1)),
        logger_(std::make_shared<spdlog::async_logger>(
            "access", std::move(sink), pool_, spdlog::async_overflow_policy::overrun_oldest)) {
    logger_->set_pattern("%v");
    logger_->set_level(spdlog::level::info);
    logger_->flush_on(spdlog::level::info);
  }

  void Write(const AccessRecord& record) override {
    logger_->info(
        spdlog::string_view_t(FormatAccessRecord(record, std::chrono::system_clock::now())));
  }
  int64_t dropped() const override { return static_cast<int64_t>(pool_->overrun_counter()); }

 private:
  // The pool's destructor writes out its queue and joins; lines hold a reference to the logger
  // meanwhile.
  std::shared_ptr<spdlog::details::thread_pool> pool_;
  std::shared_ptr<spdlog::async_logger> logger_;
};

}  // namespace

std::string FormatAccessRecord(const AccessRecord& record,
                               std::chrono::system_clock::time_point time) {
  std::string line = fmt::format("{{\"time\":\"{}\"", FormatTime(time));
  AppendText(line, "request_id", record.request_id);
  AppendText(line, "client", record.client);
  AppendText(line, "key", record.key);
  AppendText(line, "method", record.method);
  AppendText(line, "path", record.path);
  line += fmt::format(",\"status\":{},\"duration_ms\":{:.3f}", record.status, record.duration_ms);
  if (record.ttft_ms.has_value()) {
    line += fmt::format(",\"ttft_ms\":{:.3f}", *record.ttft_ms);
  }
  AppendText(line, "model", record.model);
  AppendText(line, "provider", record.provider);
  AppendText(line, "receipt", record.receipt);
  if (record.attempts > 1) {
    line += fmt::format(",\"attempts\":{}", record.attempts);
  }
  if (record.input_tokens.has_value()) {
    line += fmt::format(",\"input_tokens\":{}", *record.input_tokens);
  }
  if (record.cached_tokens.has_value()) {
    line += fmt::format(",\"cached_tokens\":{}", *record.cached_tokens);
  }
  if (record.output_tokens.has_value()) {
    line += fmt::format(",\"output_tokens\":{}", *record.output_tokens);
  }
  if (record.cost_nanousd.has_value()) {
    line += fmt::format(",\"cost_nanousd\":\"{}\"", *record.cost_nanousd);
  }
  line += fmt::format(",\"bytes_sent\":{}", record.bytes_sent);
  AppendText(line, "degraded", record.degraded);
  AppendText(line, "outcome", record.outcome);
  line += '}';
  return line;
}

Result<std::unique_ptr<AccessLog>> AccessLog::Open(const std::filesystem::path& path) {
  try {
    spdlog::sink_ptr sink;
    if (path.empty()) {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string());
    }
    return std::make_unique<SpdlogAccessLog>(std::move(sink));
  } catch (const std::exception& e) {
    return Fail(ErrorCode::kIo,
                fmt::format("cannot open the access log {}: {}", path.string(), e.what()));
  }
}

}  // namespace tradewind::telemetry
