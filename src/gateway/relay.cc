#include "gateway/relay.h"

#include <functional>
#include <utility>
#include <vector>

#include "dialects/openai_errors.h"
#include "http/sse.h"

namespace tradewind::gateway {
namespace {

// From here on a client that leaves cancels the stream. The callback may outlive the stream, hence
// the weak pointer.
void CancelWhenClientLeaves(http::Exchange& exchange,
                            const std::shared_ptr<providers::ChatStream>& stream) {
  exchange.OnClientLeft([weak = std::weak_ptr(stream)] {
    if (const auto alive = weak.lock()) {
      alive->Cancel();
    }
  });
}

void Note(const chat::ChatEvent& event, const Clock& clock, const OnFirstToken& on_first_token,
          Relayed& relayed) {
  if (!relayed.first_token_at.has_value()) {
    relayed.first_token_at = clock.Now();
    if (on_first_token) {
      on_first_token();
    }
  }
  if (event.finish.has_value()) {
    relayed.finish = event.finish;
  }
}

std::string Frame(const chat::ChatEvent& event, dialects::AnswerWriter& writer) {
  std::vector<dialects::StreamPart> parts;
  writer.Stream(event, parts);
  std::string bytes;
  for (const dialects::StreamPart& part : parts) {
    bytes += part.kind == dialects::StreamPart::Kind::kData ? http::FormatSseData(part.text)
                                                            : http::FormatSseComment(part.text);
  }
  return bytes;
}

// Above this many tokens an answer's object is written on a worker: some milliseconds of an event
// loop.
constexpr int64_t kTokensWrittenOnLoopMax = 4096;

}  // namespace

Task<Relayed> RelayStream(http::Exchange& exchange, std::shared_ptr<providers::ChatStream> stream,
                          dialects::AnswerWriter& writer, http::Headers headers, const Clock& clock,
                          OnFirstToken on_first_token) {
  Relayed relayed;
  CancelWhenClientLeaves(exchange, stream);
  bool head_is_out = false;
  bool done = false;
  while (!done) {
    Result<chat::ChatEvent> event = co_await stream->Next();
    if (!event.has_value()) {
      auto& failed =
          head_is_out ? relayed.failed_after_first_byte : relayed.failed_before_first_byte;
      failed = std::move(event).error();
      break;
    }
    Note(*event, clock, on_first_token, relayed);
    done = event->done;
    const std::string bytes = Frame(*event, writer);
    if (bytes.empty()) {
      continue;
    }
    Status written;
    if (!head_is_out) {
      written = co_await exchange.StartStream(200, std::move(headers));
      head_is_out = written.has_value();  // whose client left has no stream to end
    }
    if (written.has_value()) {
      written = co_await exchange.Write(bytes);
    }
    if (!written.has_value()) {
      relayed.failed_after_first_byte = std::move(written).error();
      break;
    }
  }
  stream->Cancel();
  relayed.usage = stream->usage();
  if (!head_is_out) {
    co_return relayed;
  }
  if (relayed.failed_after_first_byte.has_value() && !exchange.client_left()) {
    const std::string error = dialects::FormatOpenAiError(*relayed.failed_after_first_byte);
    static_cast<void>(co_await exchange.Write(http::FormatSseData(error)));
  }
  static_cast<void>(co_await exchange.Finish());
  co_return relayed;
}

Task<RelayedWhole> RelayWhole(http::Exchange& exchange,
                              std::shared_ptr<providers::ChatStream> stream,
                              std::shared_ptr<dialects::AnswerWriter> writer,
                              providers::WorkerPool& workers, const Clock& clock,
                              OnFirstToken on_first_token) {
  RelayedWhole relayed;
  CancelWhenClientLeaves(exchange, stream);
  bool done = false;
  while (!done) {
    Result<chat::ChatEvent> event = co_await stream->Next();
    if (!event.has_value()) {
      relayed.failed_before_first_byte = std::move(event).error();
      break;
    }
    Note(*event, clock, on_first_token, relayed);
    done = event->done;
    writer->Add(std::move(*event));
  }
  relayed.usage = stream->usage();
  if (!done) {
    co_return relayed;
  }
  if (relayed.usage.input_tokens + relayed.usage.output_tokens <= kTokensWrittenOnLoopMax) {
    relayed.body = writer->Whole();
    co_return relayed;
  }
  std::function<Result<std::string>()> job = [writer] { return writer->Whole(); };
  Result<std::string> body = co_await workers.Run(std::move(job));
  if (body.has_value()) {
    relayed.body = std::move(*body);
  } else {
    relayed.failed_before_first_byte = std::move(body).error();
  }
  co_return relayed;
}

}  // namespace tradewind::gateway
