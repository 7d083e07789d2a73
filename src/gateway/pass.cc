#include "gateway/pass.h"

#include <utility>
#include <vector>

#include "dialects/openai_errors.h"
#include "http/sse.h"

namespace tradewind::gateway {
namespace {

using providers::UpstreamFailure;
using providers::WireEvent;

constexpr size_t kHeldBytesMax = 16 << 10;

class StreamPass {
 public:
  StreamPass(http::Exchange& exchange, std::shared_ptr<providers::UpstreamExchange> upstream,
             const PassOptions& options, const Clock& clock)
      : exchange_(exchange), upstream_(std::move(upstream)), options_(options), clock_(clock) {}

  Task<Passed> Run(http::Headers headers) {
    std::string held;  // framed, not yet sent
    bool head_is_out = false;
    bool done = false;
    while (!done) {
      providers::UpstreamResult<WireEvent> event = co_await upstream_->Next();
      if (!event.has_value()) {
        auto& failed =
            head_is_out ? passed_.failed_after_first_byte : passed_.failed_before_first_byte;
        failed = std::move(event).error();
        break;
      }
      done = event->done;
      const bool is_visible = Note(*event);
      held += Frame(*event);
      // What arrived together leaves together.
      const bool is_more_here = head_is_out && upstream_->has_next() && held.size() < kHeldBytesMax;
      if (held.empty() || (!head_is_out && !is_visible) || is_more_here) {
        continue;
      }
      Status written;
      if (!std::exchange(head_is_out, true)) {
        written = co_await exchange_.StartStream(200, std::move(headers));
      }
      if (written.has_value()) {
        written = co_await exchange_.Write(held);
        held.clear();
      }
      if (!written.has_value()) {
        passed_.client_failed = std::move(written).error();
        break;
      }
    }
    if (!done) {
      upstream_->Cancel();
    }
    if (head_is_out) {
      co_await End(std::move(held));
    }
    if (done) {
      co_await upstream_->ReadRest();
    }
    co_return std::move(passed_);
  }

 private:
  // True when a reader would see it: text, a tool call, or the end.
  bool Note(const WireEvent& event) {
    const bool is_visible =
        event.done || event.chunk.has_content || !event.chunk.finish_reason.empty();
    if (event.chunk.has_content) {
      passed_.last_token_at = clock_.Now();
      if (!passed_.first_token_at.has_value()) {
        passed_.first_token_at = passed_.last_token_at;
        if (options_.on_first_token) {
          options_.on_first_token();
        }
      }
    }
    if (!event.chunk.finish_reason.empty()) {
      passed_.finish_reason = event.chunk.finish_reason;
    }
    if (event.chunk.usage.has_value()) {
      passed_.usage = event.chunk.usage;  // some send it with every chunk: the last one counts
    }
    return is_visible;
  }

  std::string Frame(const WireEvent& event) {
    if (event.done) {
      std::string end;
      if (!receipt_is_out_) {
        end = http::FormatSseComment("tradewind " + options_.receipt(passed_.usage));
      }
      return end + http::FormatSseData("[DONE]");
    }
    const bool is_usage_alone = event.chunk.usage.has_value() && !event.chunk.has_choices;
    if (!options_.include_usage) {
      return is_usage_alone ? std::string() : http::FormatSseData(event.data);
    }
    const bool is_last_usage =
        is_usage_alone || (event.chunk.usage.has_value() && !event.chunk.finish_reason.empty());
    if (is_last_usage && !std::exchange(receipt_is_out_, true)) {
      return http::FormatSseData(
          dialects::WithField(event.data, "tradewind", options_.receipt(passed_.usage)));
    }
    return http::FormatSseData(event.data);
  }

  // `held`: what had arrived before a failure.
  Task<void> End(std::string held) {
    if (passed_.failed_after_first_byte.has_value() && !exchange_.client_left()) {
      held +=
          http::FormatSseData(dialects::FormatOpenAiError(passed_.failed_after_first_byte->error));
      static_cast<void>(co_await exchange_.Write(held));
    }
    static_cast<void>(co_await exchange_.Finish());
  }

  http::Exchange& exchange_;
  const std::shared_ptr<providers::UpstreamExchange> upstream_;
  const PassOptions& options_;
  const Clock& clock_;
  Passed passed_;
  bool receipt_is_out_ = false;
};

}  // namespace

Task<Passed> PassStream(http::Exchange& exchange,
                        std::shared_ptr<providers::UpstreamExchange> upstream,
                        http::Headers headers, const PassOptions& options, const Clock& clock) {
  StreamPass pass(exchange, std::move(upstream), options, clock);
  co_return co_await pass.Run(std::move(headers));
}

Task<PassedWhole> PassWhole(std::shared_ptr<providers::UpstreamExchange> upstream,
                            const Clock& clock) {
  PassedWhole passed;
  auto whole = co_await upstream->Whole();
  if (!whole.has_value()) {
    passed.failed_before_first_byte = std::move(whole).error();
    co_return passed;
  }
  passed.last_token_at = clock.Now();
  passed.usage = whole->usage;
  passed.finish_reason = std::move(whole->finish_reason);
  passed.body = std::move(whole->body);
  co_return passed;
}

}  // namespace tradewind::gateway
