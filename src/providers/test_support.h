// For tests only: an engine that does what a script says, and a way to run coroutines on an event
// loop.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "catalog/local_models.h"
#include "engine/engine.h"
#include "engine/tokenizer/test_vocabularies.h"
#include "http/client.h"
#include "http/server.h"
#include "providers/local.h"
#include "testing/temp_dir.h"

namespace tradewind::providers::testing {

inline constexpr engine::TokenId kStart = 256, kEnd = 257, kBos = 258;  // ids 0..255 are the bytes

// What a generation and the test that drives it share.
class FakeSequence {
 public:
  explicit FakeSequence(engine::GenerateRequest submitted) : request(std::move(submitted)) {
    stats_.prompt_tokens = static_cast<int>(request.prompt.size());
  }

  void Push(engine::GenerateEvent event) {
    const std::lock_guard lock(mutex_);
    stats_.output_tokens += static_cast<int>(event.tokens.size());
    finished_ = finished_ || event.finish.has_value();
    events_.push_back(std::move(event));
    if (on_ready_) {
      on_ready_();
    }
  }
  std::optional<engine::GenerateEvent> Pop() {
    const std::lock_guard lock(mutex_);
    if (events_.empty()) {
      return std::nullopt;
    }
    engine::GenerateEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
  }
  void SetOnReady(std::function<void()> on_ready) {
    const std::lock_guard lock(mutex_);
    on_ready_ = std::move(on_ready);
    if (on_ready_ && !events_.empty()) {
      on_ready_();
    }
  }
  void Cancel() {
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
      if (finished_) {
        return;
      }
    }
    engine::GenerateEvent event;
    event.finish = engine::FinishReason::kCancelled;
    Push(std::move(event));
  }
  engine::GenerateStats stats() const {
    const std::lock_guard lock(mutex_);
    return stats_;
  }
  void SetCached(int cached_tokens) {
    const std::lock_guard lock(mutex_);
    stats_.cached_tokens = cached_tokens;
  }
  void SetTimes(double queue_ms, double prefill_ms, double decode_ms) {
    const std::lock_guard lock(mutex_);
    stats_.queue_ms = queue_ms;
    stats_.prefill_ms = prefill_ms;
    stats_.decode_ms = decode_ms;
  }
  bool cancelled() const {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }
  bool finished() const {
    const std::lock_guard lock(mutex_);
    return finished_;
  }

  const engine::GenerateRequest request;

 private:
  mutable std::mutex mutex_;
  std::deque<engine::GenerateEvent> events_;
  std::function<void()> on_ready_;
  engine::GenerateStats stats_;
  bool cancelled_ = false, finished_ = false;
};

class FakeGeneration final : public engine::Generation {
 public:
  explicit FakeGeneration(std::shared_ptr<FakeSequence> sequence)
      : sequence_(std::move(sequence)) {}
  ~FakeGeneration() override { sequence_->Cancel(); }
  std::optional<engine::GenerateEvent> TryNext() override { return sequence_->Pop(); }
  void SetOnReady(std::function<void()> on_ready) override {
    sequence_->SetOnReady(std::move(on_ready));
  }
  engine::GenerateEvent Next() override { return *sequence_->Pop(); }
  void Cancel() override { sequence_->Cancel(); }
  engine::GenerateStats stats() const override { return sequence_->stats(); }

 private:
  std::shared_ptr<FakeSequence> sequence_;
};

inline engine::GenerateEvent TextEvent(const std::string& text) {
  engine::GenerateEvent event;
  event.text = text;
  for (const char c : text) {
    event.tokens.push_back(static_cast<unsigned char>(c));
  }
  return event;
}
inline engine::GenerateEvent FinishEvent(engine::FinishReason reason,
                                         const std::string& error = "") {
  engine::GenerateEvent event;
  event.finish = reason;
  event.error = error;
  return event;
}

// What every FakeEngine of a test does and has seen.
struct FakeWorld {
  // Plays what follows a submission, on the submitter's thread; may keep the sequence and push more
  // later.
  std::function<void(FakeSequence&)> play = [](FakeSequence& sequence) {
    sequence.Push(TextEvent("ok"));
    sequence.Push(FinishEvent(engine::FinishReason::kStop));
  };
  std::function<std::optional<Error>()> refuse = [] {
    return std::nullopt;
  };  // asked at each Submit
  std::function<std::optional<Error>()> fail_load = [] { return std::nullopt; };
  int context = 256, slots = 4, queue = 4;
  bool add_bos = false;
  std::string activations = "i16", kv_type = "f16";  // of engines loaded from now on

  std::mutex mutex;
  std::vector<std::shared_ptr<FakeSequence>> sequences;  // in the order of submission
  std::vector<std::string> loads;                        // names of files
  int alive = 0;                                         // engines

  std::vector<std::shared_ptr<FakeSequence>> Seen() {
    const std::lock_guard lock(mutex);
    return sequences;
  }
};

class FakeEngine final : public engine::Engine {
 public:
  explicit FakeEngine(FakeWorld& world)
      : world_(world), tokenizer_(MakeTokenizer(world.add_bos)), template_(MakeTemplate()) {
    info_.context = world.context;
    info_.slots = world.slots;
    info_.kernels = "fake";
    info_.activations = world.activations;
    info_.kv_type = world.kv_type;
    const std::lock_guard lock(world_.mutex);
    ++world_.alive;
  }
  ~FakeEngine() override {
    const std::lock_guard lock(world_.mutex);
    --world_.alive;
  }

  Result<std::vector<std::unique_ptr<engine::Generation>>> Submit(
      std::vector<engine::GenerateRequest> requests) override {
    if (draining_) {
      return Fail(ErrorCode::kUnavailable, "draining");
    }
    if (auto error = world_.refuse(); error.has_value()) {
      return Fail(*error);
    }
    std::vector<std::unique_ptr<engine::Generation>> out;
    for (engine::GenerateRequest& request : requests) {
      auto sequence = std::make_shared<FakeSequence>(std::move(request));
      {
        const std::lock_guard lock(world_.mutex);
        world_.sequences.push_back(sequence);
      }
      world_.play(*sequence);
      out.push_back(std::make_unique<FakeGeneration>(std::move(sequence)));
    }
    return out;
  }
  void Drain() override { draining_ = true; }
  const engine::ModelInfo& info() const override { return info_; }
  const engine::Tokenizer& tokenizer() const override { return *tokenizer_; }
  const engine::ChatTemplate& chat_template() const override { return template_; }
  engine::EngineStats stats() const override {
    engine::EngineStats stats;
    stats.slots = world_.slots;
    return stats;
  }

 private:
  static std::unique_ptr<engine::Tokenizer> MakeTokenizer(bool add_bos) {
    engine::testing::TestVocabulary vocabulary = engine::testing::ByteVocabulary();
    vocabulary.Add("<|im_start|>", engine::TokenKind::kControl);
    vocabulary.Add("<|im_end|>", engine::TokenKind::kControl);
    vocabulary.Add("<s>", engine::TokenKind::kControl);
    auto file = vocabulary.ByteLevel();
    file.Set("tokenizer.ggml.bos_token_id", uint32_t{kBos});
    file.Set("tokenizer.ggml.eos_token_id", uint32_t{kEnd});
    file.Set("tokenizer.ggml.add_bos_token", add_bos);
    return engine::testing::Load(file);
  }
  static engine::ChatTemplate MakeTemplate() {
    auto parsed = engine::ChatTemplate::Parse(
        "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% "
        "endif %}"
        "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        "<s>", "<|im_end|>");
    EXPECT_TRUE(parsed.has_value()) << parsed.error().message;
    return std::move(*parsed);
  }

  FakeWorld& world_;
  engine::ModelInfo info_;
  std::unique_ptr<engine::Tokenizer> tokenizer_;
  engine::ChatTemplate template_;
  std::atomic<bool> draining_{false};
};

inline EngineLoader MakeLoader(FakeWorld& world) {
  return [&world](const std::filesystem::path& path,
                  const engine::EngineOptions&) -> Result<std::unique_ptr<engine::Engine>> {
    {
      const std::lock_guard lock(world.mutex);
      world.loads.push_back(path.filename().string());
    }
    if (auto error = world.fail_load(); error.has_value()) {
      return Fail(*error);
    }
    return std::make_unique<FakeEngine>(world);
  };
}

// A folder of files that look like models, by their names.
class FakeModels {
 public:
  explicit FakeModels(const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      std::ofstream(dir_.path() / (name + ".gguf"), std::ios::binary)
          << std::string("GGUF\x03\0\0\0", 8);
    }
    const std::filesystem::path folder = dir_.path();
    models = std::make_shared<const catalog::LocalModels>(
        catalog::LocalModels::Scan(std::span(&folder, 1)));
  }
  std::shared_ptr<const catalog::LocalModels> models;

 private:
  tradewind::testing::TempDir dir_;
};

inline LocalOptions FakeOptions(const FakeWorld& world, int loaded_max = 1) {
  LocalOptions options;
  options.engine.queue = world.queue;
  options.loaded_max = loaded_max;
  return options;
}

// Runs `body` as a request's handler and returns when it is done. EXPECT_ works inside; ASSERT_
// does not.
inline void RunTask(const std::function<Task<void>()>& body) {
  bool ran = false;
  http::ServerOptions options;
  options.port = 0;
  auto server = http::Server::Start(
      options,
      [&](http::Exchange& exchange) -> Task<void> {
        co_await body();
        ran = true;
        static_cast<void>(co_await exchange.Respond({}));
      },
      [](const Error& error) {
        ADD_FAILURE() << error.message;
        return http::Response{500, {}, ""};
      });
  ASSERT_TRUE(server.has_value()) << server.error().message;
  http::ClientRequest request;
  request.port = (*server)->port();
  const auto response = http::Fetch(request);
  EXPECT_TRUE(response.has_value()) << response.error().message;
  EXPECT_TRUE(ran);
}

inline bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

inline chat::ChatRequest ChatOf(const std::string& text) {
  chat::ChatRequest request;
  request.model = "m";
  request.messages.push_back({"user", {{chat::ContentPart::Kind::kText, text}}, "", "", ""});
  return request;
}

inline chat::CompletionRequest CompletionOf(const std::vector<std::string>& prompts) {
  chat::CompletionRequest request;
  request.model = "m";
  for (const std::string& prompt : prompts) {
    request.prompts.push_back({prompt, {}, false});
  }
  request.max_tokens = 16;
  return request;
}

struct Collected {
  std::map<int, std::string> texts;
  std::vector<chat::ChatEvent> events;
  std::optional<Error> error;
};

inline Task<Collected> Collect(ChatStream& stream) {
  Collected out;
  while (true) {
    auto event = co_await stream.Next();
    if (!event.has_value()) {
      out.error = std::move(event).error();
      co_return out;
    }
    out.texts[event->choice] += event->text;
    const bool done = event->done;
    out.events.push_back(std::move(*event));
    if (done) {
      co_return out;
    }
  }
}

class LocalProviderTest : public ::testing::Test {
 protected:
  LocalProvider& Provider() {
    if (!provider_) {
      provider_ =
          std::make_unique<LocalProvider>(files_.models, FakeOptions(world_), MakeLoader(world_));
    }
    return *provider_;
  }
  // Opens and collects, or gives the refusal.
  Collected Chat(const chat::ChatRequest& request) {
    Collected out;
    RunTask([&]() -> Task<void> {
      auto stream = co_await Provider().Chat(request);
      if (!stream.has_value()) {
        out.error = std::move(stream).error();
        co_return;
      }
      out = co_await Collect(**stream);
    });
    return out;
  }
  Collected Complete(const chat::CompletionRequest& request) {
    Collected out;
    RunTask([&]() -> Task<void> {
      auto stream = co_await Provider().Complete(request);
      if (!stream.has_value()) {
        out.error = std::move(stream).error();
        co_return;
      }
      out = co_await Collect(**stream);
    });
    return out;
  }

  FakeWorld world_;
  FakeModels files_{{"m"}};
  std::unique_ptr<LocalProvider> provider_;
};

}  // namespace tradewind::providers::testing
