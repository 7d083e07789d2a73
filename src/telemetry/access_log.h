// One JSON line per request, for machines. Source of the field names: what nginx and OpenTelemetry
// users search for.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"

namespace tradewind::telemetry {

// There is deliberately no place for header values, queries, prompts, answers or keys.
struct AccessRecord {
  std::string request_id;
  std::string method;
  std::string path;  // without the query
  int status = 0;    // 0: the client left before an answer
  double duration_ms = 0;
  std::optional<double> ttft_ms = {};  // time to first token
  std::string model = {};              // empty fields are left out
  std::string provider = {};           // who answered, or tried last
  std::string receipt = {};            // of its attempts in the ledger, when one was begun
  int attempts = 0;                    // at answering; left out when 0 or 1
  std::optional<int64_t> cost_nanousd = {};
  std::optional<int64_t> input_tokens = {};
  std::optional<int64_t> cached_tokens = {};  // of the input: those that were not evaluated
  std::optional<int64_t> output_tokens = {};
  int64_t bytes_sent = 0;
  std::string degraded = {};  // why this device answered instead of a provider: "budget"
  std::string outcome = {};   // the finish reason or an error's code name: "stop", "cancelled"
  std::string key = {};       // the id of the caller's key ("key_..."), never the token
  std::string client = {};    // the peer's address; leave it empty to keep it out of the log
};

// {"time":"2025-01-31T12:00:00.123Z","request_id":…} without a line break. Invalid UTF-8 becomes
// U+FFFD.
std::string FormatAccessRecord(const AccessRecord& record,
                               std::chrono::system_clock::time_point time);

// Writes on a thread of its own, so that a blocked terminal or disk never blocks an event loop:
// when it falls behind by limits::kAccessLogQueuedMax lines, the oldest are dropped and counted.
// Thread-safe; the destructor writes what is left.
class AccessLog {
 public:
  // An empty path means stderr; otherwise appends. Errors: kIo.
  static Result<std::unique_ptr<AccessLog>> Open(const std::filesystem::path& path);
  virtual ~AccessLog() = default;

  virtual void Write(const AccessRecord& record) = 0;
  virtual int64_t dropped() const = 0;
};

}  // namespace tradewind::telemetry
