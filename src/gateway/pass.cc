#include "gateway/pass.h"

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/limits.h"
#include "dialects/openai_errors.h"
#include "http/sse.h"

namespace tradewind::gateway {
namespace {

using providers::UpstreamFailure;
using providers::WireEvent;

constexpr size_t kHeldBytesMax = 16 << 10;

// So much of an answer that goes on is compared with the beginning of the text so far. A text that
// has less than the least may well go on as it began.
constexpr size_t kComparedBytes = 64, kComparedBytesMin = 16;
// A longer text is not kept, and does not go on elsewhere.
constexpr size_t kKeptTextBytesMax = limits::kRecountedBytesMax;

// For the bill.
bool SameUsage(const std::optional<chat::Usage>& a, const std::optional<chat::Usage>& b) {
  const auto counts = [](const chat::Usage& usage) {
    return std::tuple(usage.input_tokens, usage.output_tokens, usage.cached_tokens,
                      usage.cache_write_tokens, usage.cache_write_1h_tokens, usage.reasoning_tokens,
                      usage.audio_input_tokens, usage.audio_output_tokens, usage.cost_nanousd,
                      usage.service_tier, usage.lacks_input, usage.lacks_output);
  };
  return a.has_value() == b.has_value() && (!a.has_value() || counts(*a) == counts(*b));
}

// What `from` says more of, field by field; of a count that some do not say nullopt is the least.
void MaxPrompt(const chat::Usage& from, chat::Usage& to) {
  to.lacks_input = to.lacks_input && from.lacks_input;
  to.input_tokens = std::max(to.input_tokens, from.input_tokens);
  to.cached_tokens = std::max(to.cached_tokens, from.cached_tokens);
  to.audio_input_tokens = std::max(to.audio_input_tokens, from.audio_input_tokens);
  to.cache_write_tokens = std::max(to.cache_write_tokens, from.cache_write_tokens);
  to.cache_write_1h_tokens = std::max(to.cache_write_1h_tokens, from.cache_write_1h_tokens);
}
void MaxUsage(const chat::Usage& from, chat::Usage& to) {
  MaxPrompt(from, to);
  to.lacks_output = to.lacks_output && from.lacks_output;
  to.output_tokens = std::max(to.output_tokens, from.output_tokens);
  to.reasoning_tokens = std::max(to.reasoning_tokens, from.reasoning_tokens);
  to.audio_output_tokens = std::max(to.audio_output_tokens, from.audio_output_tokens);
  to.cost_nanousd = std::max(to.cost_nanousd, from.cost_nanousd);
  to.lacks_input = to.lacks_input || (to.input_tokens == 0 && to.output_tokens > 0);
}

class StreamPass {
 public:
  StreamPass(http::Exchange& exchange, std::shared_ptr<providers::UpstreamExchange> upstream,
             const PassOptions& options, ClientStream& stream, const Clock& clock)
      : exchange_(exchange),
        upstream_(std::move(upstream)),
        options_(options),
        stream_(stream),
        clock_(clock),
        goes_on_(stream.head_is_out) {}

  Task<Passed> Run(http::Headers headers) {
    std::string held;  // framed, not yet sent
    bool is_shown = false;
    bool done = false;
    while (!done) {
      providers::UpstreamResult<WireEvent> event = co_await upstream_->Next();
      if (event.has_value() && goes_on_ && !is_shown && BeginsAnew(*event)) {
        event = std::unexpected(BegunAnew());
      }
      if (!event.has_value()) {
        auto& failed = stream_.head_is_out ? passed_.failed_after_first_byte
                                           : passed_.failed_before_first_byte;
        failed = std::move(event).error();
        break;
      }
      done = event->done;
      Note(*event);
      held += Frame(*event, is_shown);
      is_shown = is_shown || IsReady(*event);
      // What arrived together leaves together.
      const bool is_more_here =
          stream_.head_is_out && upstream_->has_next() && held.size() < kHeldBytesMax;
      if (held.empty() || !is_shown || is_more_here) {
        continue;
      }
      Status written;
      if (!stream_.head_is_out) {
        written = co_await exchange_.StartStream(200, std::move(headers));
        stream_.head_is_out = written.has_value();  // whose client left has no stream to end
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
    if (passed_.client_failed.has_value() && !done && options_.reads_on && options_.reads_on()) {
      passed_.was_read_on = done = co_await ReadOn();
    }
    if (!done) {
      upstream_->Cancel();
    }
    if (!is_shown) {
      held.clear();
      passed_.gave_nothing = true;
    } else {
      Remember();
    }
    if (stream_.head_is_out) {
      co_await End(std::move(held));
    }
    if (done) {
      co_await upstream_->ReadRest();
    }
    co_return std::move(passed_);
  }

 private:
  // True: to its end.
  Task<bool> ReadOn() {
    int64_t bytes = 0;
    while (bytes <= limits::kReadOnBytesMax) {
      const providers::UpstreamResult<WireEvent> event = co_await upstream_->Next();
      if (!event.has_value()) {
        co_return false;
      }
      if (event->done) {
        NoteEnd(*event);
        co_return true;
      }
      bytes += static_cast<int64_t>(event->data.size());
      passed_.unread_bytes += event->chunk.written_bytes;
      NoteEnd(*event);
    }
    co_return false;
  }

  void NoteEnd(const WireEvent& event) {
    more_came_ |= event.chunk.has_content;
    if (!event.chunk.finish_reason.empty()) {
      passed_.finish_reason = event.chunk.finish_reason;
    }
    if (!event.chunk.service_tier.empty()) {
      service_tier_ = event.chunk.service_tier;  // the last one counts
    }
    if (event.chunk.usage.has_value()) {
      NoteUsage(event);
    } else if (event.chunk.has_content) {
      passed_.usage.reset();  // it came before the end, and says nothing of what follows
      passed_.usage_is_final = false;
    } else if (event.done && passed_.usage.has_value()) {
      passed_.usage_is_final |= event.choices_ended >= options_.choices;
    }
  }

  // Some send it with every chunk, and some in halves: of the prompt the most that any has said
  // counts, of the answer the last word. Where that falls each is a share, of an event or a choice,
  // and nobody has said the whole but one that stands alone at the end. So it is too where it does
  // not grow though there was more of several choices, or came with their ends alone.
  void NoteUsage(const WireEvent& event) {
    chat::Usage usage = *event.chunk.usage;
    const bool has_ended = event.choices_ended >= options_.choices;
    const bool has_choices = event.chunk.has_choices;
    // Since there was more of the answer.
    const bool was_said = passed_.usage.has_value() && !event.chunk.has_content;
    if (was_said && passed_.usage->is_whole() && !usage.is_whole() &&
        (options_.choices == 1 || !has_choices)) {
      MaxUsage(usage, *passed_.usage);  // half of it is no share of the whole
      passed_.usage_is_final |= has_ended;
      return;
    }
    if (!usage.lacks_output) {
      const bool should_grow = options_.choices > 1 && choices_said_ > 0 && more_came_;
      are_shares_ |= usage.output_tokens < output_tokens_most_ ||
                     (should_grow && usage.output_tokens == output_tokens_most_);
      output_tokens_most_ = std::max(output_tokens_most_, usage.output_tokens);
      choices_said_ += has_choices ? 1 : 0;
      more_came_ = false;
    }
    const bool may_be_shares =
        are_shares_ || (choices_said_ > 1 && choices_said_ <= options_.choices);
    const bool is_whole =
        !may_be_shares || (has_ended && !has_choices && usage.output_tokens >= output_tokens_most_);
    if (usage.input_tokens > 0) {
      MaxPrompt(usage, prompt_);
    }
    if (!usage.lacks_input || !may_be_shares) {
      MaxPrompt(prompt_, usage);
    }
    if (was_said && !may_be_shares) {
      MaxUsage(*passed_.usage, usage);
    }
    passed_.usage = is_whole ? std::optional(std::move(usage)) : std::nullopt;
    if (passed_.usage.has_value()) {
      passed_.usage->service_tier = service_tier_;
    }
    passed_.usage_is_final = is_whole && has_ended;
  }

  void Note(const WireEvent& event) {
    if (event.chunk.has_content) {
      passed_.delivered_bytes += event.chunk.written_bytes;
      if (options_.on_delivered) {
        options_.on_delivered(passed_.delivered_bytes);
      }
      passed_.last_token_at = clock_.Now();
      if (!passed_.first_token_at.has_value()) {
        passed_.first_token_at = passed_.last_token_at;
        if (options_.on_first_token) {
          options_.on_first_token();
        }
      }
    }
    NoteEnd(event);
    if (options_.keeps_text && event.chunk.has_content) {
      const bool is_text = !event.chunk.has_other && !event.chunk.text.empty();
      passed_.has_other |= !is_text || passed_.text.size() >= kKeptTextBytesMax;
      passed_.text += passed_.has_other ? "" : event.chunk.text;
    }
    if (stream_.may_go_on) {
      // Thoughts and tool calls have no form in which they could be gone on with.
      stream_.may_go_on =
          !event.chunk.has_other && stream_.text.size() + text_.size() < kKeptTextBytesMax;
      text_ += event.chunk.text;
      pieces_ += event.chunk.text.empty() ? 0 : 1;
    }
  }

  // Of an answer that goes on: it has said what the text so far began with.
  bool BeginsAnew(const WireEvent& event) {
    const std::string_view before = std::string_view(stream_.text).substr(0, kComparedBytes);
    const std::string now = text_ + event.chunk.text;
    return before.size() >= kComparedBytesMin && now.starts_with(before);
  }

  // There is something to see, and it is known to be new.
  bool IsReady(const WireEvent& event) const {
    if (!goes_on_) {
      return event.is_visible();
    }
    const bool has_ended = event.done || !event.chunk.finish_reason.empty();
    return has_ended || event.chunk.has_other ||
           (!text_.empty() && !stream_.text.starts_with(text_));
  }

  UpstreamFailure BegunAnew() const {
    UpstreamFailure failure;
    failure.stage = UpstreamFailure::Stage::kGarbage;
    failure.error = {
        ErrorCode::kUpstreamFailed,
        fmt::format("{} began the answer anew instead of going on with it.", options_.provider)};
    return failure;
  }

  // What was shown counts from here on as what the client has.
  void Remember() {
    stream_.text += text_;
    stream_.pieces += pieces_;
    stream_.providers.push_back(options_.provider);
  }

  std::string Frame(const WireEvent& event, bool is_shown) {
    if (goes_on_ && !is_shown) {
      if (!event.is_visible()) {
        return {};  // it has begun already
      }
      if (!std::exchange(is_announced_, true)) {
        return http::FormatSseComment("tradewind {\"goes_on_at\":\"" + options_.provider + "\"}") +
               FrameEvent(event);
      }
    }
    return FrameEvent(event);
  }

  std::string FrameEvent(const WireEvent& event) {
    if (event.done) {
      if (options_.on_complete) {
        options_.on_complete(passed_.usage, passed_.delivered_bytes);
      }
      std::string end;
      if (!stream_.receipt_is_out || !SameUsage(receipt_of_, passed_.usage)) {
        end = http::FormatSseComment("tradewind " + options_.receipt(passed_.usage));
      }
      return end + http::FormatSseData("[DONE]");
    }
    const bool is_usage_alone = event.chunk.usage.has_value() && !event.chunk.has_choices;
    if (!options_.include_usage) {
      return is_usage_alone ? std::string() : http::FormatSseData(event.data);
    }
    // In the chunk that ends the last choice, or in one of its own after it.
    const bool is_last_usage = is_usage_alone ? event.choices_ended > 0
                                              : event.chunk.usage.has_value() &&
                                                    !event.chunk.finish_reason.empty() &&
                                                    event.choices_ended >= options_.choices;
    if (is_last_usage && !std::exchange(stream_.receipt_is_out, true)) {
      receipt_of_ = passed_.usage;
      return http::FormatSseData(
          dialects::WithField(event.data, "tradewind", options_.receipt(passed_.usage)));
    }
    return http::FormatSseData(event.data);
  }

  // `held`: what had arrived before a failure.
  Task<void> End(std::string held) {
    const bool is_cut = passed_.failed_after_first_byte.has_value() && !exchange_.client_left();
    if (is_cut && stream_.may_go_on && passed_.finish_reason.empty()) {
      Status written = held.empty() ? Status() : co_await exchange_.Write(held);
      passed_.is_left_open = written.has_value();
      if (written.has_value()) {
        co_return;
      }
    } else if (is_cut) {
      held +=
          http::FormatSseData(dialects::FormatOpenAiError(passed_.failed_after_first_byte->error));
      static_cast<void>(co_await exchange_.Write(held));
    }
    static_cast<void>(co_await exchange_.Finish());
  }

  http::Exchange& exchange_;
  const std::shared_ptr<providers::UpstreamExchange> upstream_;
  const PassOptions& options_;
  ClientStream& stream_;
  const Clock& clock_;
  const bool goes_on_;  // another attempt has begun it
  Passed passed_;
  int64_t choices_said_ = 0;  // events of choices that had a usage
  bool more_came_ = false;    // since the last one
  bool are_shares_ = false;   // not each the sum so far
  int64_t output_tokens_most_ = 0;
  chat::Usage prompt_{.lacks_input = true};  // the most that was said of it
  std::string service_tier_;
  std::string text_;  // of this attempt
  int64_t pieces_ = 0;
  bool is_announced_ = false;
  std::optional<chat::Usage> receipt_of_;  // what the receipt that is out was made of
};

}  // namespace

int64_t ClientStream::tokens() const {
  constexpr int64_t kBytesPerToken = 4;
  return std::max(pieces, static_cast<int64_t>(text.size()) / kBytesPerToken);
}

Task<Passed> PassStream(http::Exchange& exchange,
                        std::shared_ptr<providers::UpstreamExchange> upstream,
                        http::Headers headers, const PassOptions& options, ClientStream& stream,
                        const Clock& clock) {
  StreamPass pass(exchange, std::move(upstream), options, stream, clock);
  co_return co_await pass.Run(std::move(headers));
}

Task<void> EndCutStream(http::Exchange& exchange, const Error& error) {
  if (!exchange.client_left()) {
    static_cast<void>(
        co_await exchange.Write(http::FormatSseData(dialects::FormatOpenAiError(error))));
  }
  static_cast<void>(co_await exchange.Finish());
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
  passed.delivered_bytes = whole->written_bytes;
  passed.body = std::move(whole->body);
  co_return passed;
}

}  // namespace tradewind::gateway
