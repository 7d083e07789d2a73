#include "providers/local_stream.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/utf8.h"

namespace tradewind::providers {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// FNV-1a over what decides about the arithmetic: the model, the rounding that was chosen, the
// kernels, this build.
std::string Fingerprint(const std::string& id, const engine::ModelInfo& info) {
  uint64_t hash = 0xcbf29ce484222325;
  const std::string text =
      fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n{}", TW_VERSION, id, info.file_bytes, info.quantization,
                  info.activations, info.kv_type, info.kernels);
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return fmt::format("fp_{:010x}", hash & 0xffffffffff);
}

}  // namespace

LocalStream::LocalStream(ModelPool::Lease lease, StreamPlan plan)
    : lease_(std::move(lease)),
      plan_(std::move(plan)),
      fingerprint_(Fingerprint(lease_.id(), lease_.engine().info())),
      wakeup_(http::Wakeup::Create()),
      opened_(steady_clock::now()),
      cached_tokens_(plan_.prompts.size(), -1) {}

LocalStream::~LocalStream() {
  for (Sequence& sequence : running_) {
    sequence.generation->SetOnReady({});
  }
}

Result<std::unique_ptr<ChatStream>> LocalStream::Open(ModelPool::Lease lease, StreamPlan plan) {
  std::unique_ptr<LocalStream> stream(new LocalStream(std::move(lease), std::move(plan)));
  TW_RETURN_IF_ERROR(stream->Submit(std::min(stream->total(), stream->plan_.in_flight_max)));
  return stream;
}

Status LocalStream::Submit(int count) {
  std::vector<engine::GenerateRequest> requests;
  for (int choice = next_choice_; choice < next_choice_ + count; ++choice) {
    engine::GenerateRequest request = plan_.request;
    request.prompt = plan_.prompts[static_cast<size_t>(choice / plan_.n)].ids;
    if (request.sampling.seed.has_value()) {
      *request.sampling.seed += static_cast<uint64_t>(choice % plan_.n);
    }
    requests.push_back(std::move(request));
  }
  TW_ASSIGN_OR_RETURN(auto generations, lease_.engine().Submit(std::move(requests)));
  const double now_ms = MsBetween(opened_, steady_clock::now());
  for (auto& generation : generations) {
    generation->SetOnReady([wakeup = wakeup_] { wakeup->Notify(); });
    running_.push_back({next_choice_++, false, now_ms, std::move(generation)});
  }
  return {};
}

Status LocalStream::Refill() {
  while (may_submit() && steady_clock::now() >= retry_at_) {
    const Status submitted = Submit(1);
    if (submitted.has_value()) {
      continue;
    }
    if (submitted.error().code != ErrorCode::kTooManyRequests) {
      return submitted;
    }
    // Part of the answer is out already, so this waits for its turn instead of failing.
    const int64_t retry_ms =
        std::clamp<int64_t>(submitted.error().retry_after_ms.value_or(100), 10, 1000);
    retry_at_ = steady_clock::now() + milliseconds(retry_ms);
  }
  return {};
}

Task<Result<chat::ChatEvent>> LocalStream::Next() {
  const TimePoint silent_until = steady_clock::now() + milliseconds(limits::kNextEventDeadlineMs);
  while (true) {
    if (cancelled_) {
      co_return Fail(ErrorCode::kCancelled, "The request was cancelled.");
    }
    if (steady_clock::now() >= plan_.deadline) {
      co_return Fail(ErrorCode::kDeadlineExceeded,
                     "The request's time was over before the answer.");
    }
    TW_CO_RETURN_IF_ERROR(Refill());
    TW_CO_ASSIGN_OR_RETURN(std::optional<chat::ChatEvent> event, Poll());
    if (event.has_value()) {
      co_return std::move(*event);
    }
    TimePoint until = std::min(silent_until, plan_.deadline);
    if (may_submit()) {
      until = std::min(until, retry_at_);
    }
    if (!co_await wakeup_->Wait(until) && steady_clock::now() >= silent_until) {
      co_return Fail(ErrorCode::kDeadlineExceeded,
                     fmt::format("No token came for {} s.", limits::kNextEventDeadlineMs / 1000));
    }
  }
}

Result<std::optional<chat::ChatEvent>> LocalStream::Poll() {
  for (size_t i = 0; i < running_.size(); ++i) {
    turn_ = (turn_ + 1) % running_.size();
    Sequence& sequence = running_[turn_];
    std::optional<engine::GenerateEvent> event = sequence.generation->TryNext();
    if (!event.has_value()) {
      continue;
    }
    const bool finished = event->finish.has_value();
    TW_ASSIGN_OR_RETURN(chat::ChatEvent out, Convert(sequence, std::move(*event)));
    if (finished) {
      Finish(sequence);
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(turn_));
      turn_ = 0;
      if (running_.empty() && !has_more()) {
        out.done = true;
        out.usage = usage();
        out.receipt = MakeReceipt();
      }
    }
    return out;
  }
  return std::nullopt;
}

Result<chat::ChatEvent> LocalStream::Convert(Sequence& sequence, engine::GenerateEvent event) {
  chat::ChatEvent out;
  out.choice = sequence.choice;
  if (!sequence.started && plan_.echo) {
    out.text = plan_.prompts[static_cast<size_t>(sequence.choice / plan_.n)].text;
  }
  sequence.started = true;
  out.text += event.text;
  for (const engine::LogprobEntry& entry : event.prompt_logprobs) {
    out.prompt_logprobs.push_back(Describe(entry, true));
  }
  const PreparedPrompt& prompt = plan_.prompts[static_cast<size_t>(sequence.choice / plan_.n)];
  MatchText(prompt, out.prompt_logprobs);
  for (const engine::LogprobEntry& entry : event.logprobs) {
    out.logprobs.push_back(Describe(entry, false));
  }
  if (!event.finish.has_value()) {
    return out;
  }
  switch (*event.finish) {
    case engine::FinishReason::kStop:
      out.finish = chat::FinishReason::kStop;
      break;
    case engine::FinishReason::kLength: {
      const bool at_end = plan_.keep_end_token && !event.tokens.empty() &&
                          lease_.engine().tokenizer().IsEnd(event.tokens.back());
      out.finish = at_end ? chat::FinishReason::kStop : chat::FinishReason::kLength;
      break;
    }
    case engine::FinishReason::kCancelled:
      return Fail(Error{ErrorCode::kUnavailable, "The model was unloaded before the answer ended.",
                        "", 1000});
    case engine::FinishReason::kError:
      return Fail(ErrorCode::kInternal, fmt::format("The engine failed: {}", event.error));
  }
  return out;
}

// The bytes of a prompt's tokens, put together, are its text: an added BOS stands for none, and the
// space with which SentencePiece begins a text is not in it.
void LocalStream::MatchText(const PreparedPrompt& prompt,
                            std::vector<chat::TokenLogprob>& tokens) const {
  if (prompt.bos_was_added && !tokens.empty()) {
    tokens[0].bytes.clear();
  }
  const size_t first = prompt.bos_was_added ? 1 : 0;
  if (lease_.engine().tokenizer().strips_leading_space() && first < tokens.size() &&
      tokens[first].bytes.starts_with(' ') && !prompt.text.starts_with(' ')) {
    tokens[first].bytes.erase(0, 1);
  }
}

void LocalStream::Finish(Sequence& sequence) {
  sequence.generation->SetOnReady({});
  const engine::GenerateStats stats = sequence.generation->stats();
  output_tokens_done_ += stats.output_tokens;
  CountCached(sequence, cached_tokens_);
  const double queue_ms = sequence.submitted_ms + stats.queue_ms;
  const double first_ms = queue_ms + stats.prefill_ms;
  queue_ms_ = queue_ms_ < 0 ? queue_ms : std::min(queue_ms_, queue_ms);
  first_token_ms_ = first_token_ms_ < 0 ? first_ms : std::min(first_token_ms_, first_ms);
  last_token_ms_ = std::max(last_token_ms_, first_ms + stats.decode_ms);
}

// The choices of a prompt share what one of them evaluates: only what that one was spared counts.
void LocalStream::CountCached(const Sequence& sequence, std::vector<int64_t>& cached_tokens) const {
  int64_t& cached = cached_tokens[static_cast<size_t>(sequence.choice / plan_.n)];
  const int64_t own = sequence.generation->stats().cached_tokens;
  cached = cached < 0 ? own : std::min(cached, own);
}

// Of one sequence these are its stats; of several: until the first is admitted, until the first
// token of any, until the last token of all.
chat::Receipt LocalStream::MakeReceipt() const {
  chat::Receipt receipt;
  receipt.queue_ms = std::max(queue_ms_, 0.0);
  receipt.prefill_ms = std::max(first_token_ms_ - queue_ms_, 0.0);
  receipt.decode_ms = std::max(last_token_ms_ - first_token_ms_, 0.0);
  return receipt;
}

chat::TokenLogprob LocalStream::Describe(const engine::TokenLogprob& token, bool in_prompt) const {
  const engine::Tokenizer& tokenizer = lease_.engine().tokenizer();
  chat::TokenLogprob out;
  out.id = token.id;
  out.logprob = token.logprob;
  const std::string_view bytes = tokenizer.TokenBytes(token.id);
  out.token = ReplaceInvalidUtf8(bytes);
  if (in_prompt || !tokenizer.IsSpecial(token.id)) {
    out.bytes = bytes;  // a sampled special token adds nothing to the text; one in a prompt was
                        // spelled there
  }
  return out;
}

chat::TokenLogprob LocalStream::Describe(const engine::LogprobEntry& entry, bool in_prompt) const {
  chat::TokenLogprob out = Describe(entry.chosen, in_prompt);
  out.has_value = entry.has_value;
  for (const engine::TokenLogprob& alternative : entry.top) {
    out.top.push_back(Describe(alternative, false));
  }
  return out;
}

void LocalStream::Cancel() {
  cancelled_ = true;
  for (Sequence& sequence : running_) {
    sequence.generation->Cancel();
  }
  wakeup_->Notify();
}

chat::Usage LocalStream::usage() const {
  chat::Usage usage;
  const int prompts_used = (next_choice_ + plan_.n - 1) / plan_.n;
  for (int prompt = 0; prompt < prompts_used; ++prompt) {
    usage.input_tokens +=
        static_cast<int64_t>(plan_.prompts[static_cast<size_t>(prompt)].ids.size());
  }
  usage.output_tokens = output_tokens_done_;
  for (const Sequence& sequence : running_) {
    usage.output_tokens += sequence.generation->stats().output_tokens;
  }
  std::vector<int64_t> cached_tokens = cached_tokens_;
  for (const Sequence& sequence : running_) {
    CountCached(sequence, cached_tokens);
  }
  for (const int64_t cached : cached_tokens) {
    usage.cached_tokens += std::max<int64_t>(cached, 0);
  }
  return usage;
}

}  // namespace tradewind::providers
