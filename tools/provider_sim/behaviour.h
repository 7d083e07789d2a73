// How an answer is to go wrong, or how fast it is to come. Settings are set by rules: at the
// command line, through /_sim/faults, or by words "sim:name=value" in the last user message, which
// pass through any gateway.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <boost/json/value.hpp>

namespace provider_sim {

// Positions count the data events of a stream from 0; -1 is never. Where a reply is no stream,
// `cut_after` and `stall_after` strike in the middle of its body.
struct Behaviour {
  int64_t status = 0;         // answer with this error, in the provider's words
  std::string retry_after;    // its Retry-After: seconds or a date; empty: none
  std::string message;        // its message
  std::string close;          // "fin", "rst": instead of any answer
  int64_t first_byte_ms = 0;  // before the head
  int64_t cut_after = -1;     // events, then the connection breaks
  std::string cut = "rst";    // "fin", "rst"
  int64_t stall_after = -1;   // events, then silence for `stall_ms`, then a cut
  int64_t stall_ms = 600'000;
  int64_t malformed_after = -1;    // this event's JSON breaks off
  int64_t broken_line_after = -1;  // this event comes without "data:"
  int64_t error_after = -1;        // this event is the provider's error; the stream ends
  bool gzip = false;               // a gzip body, whatever was accepted
  std::string body;          // "empty", "html", "garbage", "truncated" (against Content-Length)
  std::string content_type;  // another one
  // "missing", "zero", "duplicate", "cumulative", "delta" (each event says its own alone); lies:
  // "negative", "huge" (a billion tokens), "inflated" (a fifth more), "padded" (a thousand of output
  // more), "cached_over", "reasoning_over" (more than all), "text", "after_done" (behind the end
  // mark), "half" (only of the prompt), "padded_half" (only of the answer, padded), "early" (in a
  // stream's first event alone), "total_alone" (thoughts, told by the total alone); "no_cost": of what tells a cost, the tokens alone
  std::string usage;
  std::string id;                 // of the answer, in its headers: "missing", "reused"
  std::string redirect;           // 302 to this address
  int64_t huge_header_bytes = 0;  // more headers, this many bytes
  double tokens_per_s = 0;        // 0: as fast as it goes
  int64_t tokens = -1;            // natural length of an answer
  int64_t reasoning_tokens = -1;
  bool thinks_beyond_cap = false;   // the bound on tokens strikes the answer alone
  int64_t cached_tokens = -1;       // of the prompt, at most all
  int64_t cache_write_tokens = -1;  // of the rest: written to the cache, for as long as is asked
  // At which it serves and bills: "default", or one that it has; without this the one that is asked
  // for, where it has a price, else "default".
  std::string service_tier;
  std::string tier_told;         // "usage" (there), "first" (in a stream's first event), "none";
                                 // without this in the body, where one was asked for or set
  bool spoken = false;           // a stream's text as the transcript of speech
  int64_t choices = -1;          // of a stream: so many of those that were asked for
  std::string finish;            // another finish_reason
  std::string done;              // "none", "nospace": the end mark of a stream
  std::string prefix;            // "continue": goes on after a last message of the assistant, or
                                 // after the answer that ends a prompt; empty: begins anew
  bool comments = false;         // an SSE comment before each event
  bool crlf = false;             // SSE lines end in \r\n
  int64_t split_bytes = 0;       // a stream is sent in pieces of this size
  int64_t events_per_write = 1;  // of a stream without pacing
  std::string bill;           // "none", "generated", "whole": after an answer that did not end well
  bool bill_refused = false;  // an answer that `status` replaces is billed whole
  int64_t bill_percent = 100;
  // What the billing endpoint says: "forget" (knows no id), "null", "negative", "fraction", "text",
  // "huge", "stray" (an id that was not asked), "twice" (two costs), "changing" (each time more)
  std::string costs;
  int64_t page_days = 0;  // of its usage and cost reports: days of a page; 0: as asked
  // What these say: "inflated" (a fifth more), "empty" (nothing), "stray" (a dollar of a model that
  // nobody uses, on the first day), "negative"; of their pages: "loop" (the same one again), "lost"
  // (more, and not where), "twice" (each begins with the last day of the one before)
  std::string report;
};

using Setting = std::variant<int64_t, double, bool, std::string>;

// Sets `name`; an error message, or empty.
std::string Set(Behaviour& behaviour, std::string_view name, const Setting& value);
std::string Set(Behaviour& behaviour, std::string_view name, const boost::json::value& value);
std::string SetFromText(Behaviour& behaviour, std::string_view name, std::string_view value);

struct Rule {
  std::string provider, model, endpoint;  // empty: any
  double probability = 1;
  uint64_t seed = 0;
  int64_t count = -1;         // requests it still strikes; -1: all
  bool accept_close = false;  // closes connections as they are accepted, before anything is read
  std::vector<std::pair<std::string, boost::json::value>> settings;

  std::atomic<uint64_t> draws{0}, hits{0};
};

class Rules {
 public:
  // One rule or an array of them; an error message, or empty, and then all are in force.
  std::string Add(const boost::json::value& rules);
  void Clear();
  boost::json::value List() const;

  // Later rules win where several match.
  void Apply(std::string_view provider, std::string_view model, std::string_view endpoint,
             Behaviour& behaviour);
  bool CloseAccepted();

 private:
  bool Strikes(Rule& rule) const;
  std::vector<std::shared_ptr<Rule>> Snapshot() const;

  std::atomic<bool> empty_{true};
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Rule>> rules_;
};

// "sim:name=value" and "sim:provider:name=value" in `text`.
void ApplyDirectives(std::string_view text, std::string_view provider, Behaviour& behaviour);

uint64_t Mix(uint64_t value);  // splitmix64

}  // namespace provider_sim
