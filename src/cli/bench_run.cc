#include "cli/bench_run.h"

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <memory>
#include <mutex>

#include <fmt/format.h>

#include "base/clock.h"

namespace tradewind::cli {
namespace {

constexpr double kShortestMs = 1e-3;  // a rate of nothing is not infinite

std::vector<engine::TokenId> RandomPrompt(const engine::Tokenizer& tokenizer, int64_t tokens,
                                          std::mt19937_64& random) {
  std::vector<engine::TokenId> out;
  const auto vocabulary = static_cast<uint64_t>(tokenizer.vocab_size());
  constexpr int kTriesMax = 64;  // a vocabulary without ordinary tokens must not hang this
  while (static_cast<int64_t>(out.size()) < tokens) {
    auto id = static_cast<engine::TokenId>(random() % vocabulary);
    for (int i = 0; i < kTriesMax && tokenizer.Kind(id) != engine::TokenKind::kNormal; ++i) {
      id = static_cast<engine::TokenId>(random() % vocabulary);
    }
    out.push_back(id);
  }
  return out;
}

// When how many tokens of a sequence had come. Exact although text can be held back: an event
// brings every token up to its own.
struct Mark {
  double ms = 0;
  int64_t tokens = 0;
};

// Reads several generations on one thread, as their events come.
class Collector {
 public:
  using Generations = std::vector<std::unique_ptr<engine::Generation>>;

  explicit Collector(const Generations& generations) : generations_(generations) {
    for (const auto& generation : generations_) {
      generation->SetOnReady([this] {
        const std::lock_guard lock(mutex_);
        is_ready_ = true;
        condition_.notify_one();
      });
    }
  }
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;
  ~Collector() {
    for (const auto& generation : generations_) {
      generation->SetOnReady({});
    }
  }

  // The marks of each, once all have finished. Error: kInternal when one failed.
  Result<std::vector<std::vector<Mark>>> Collect(std::chrono::steady_clock::time_point begin) {
    std::vector<std::vector<Mark>> marks(generations_.size());
    size_t running = generations_.size();
    while (running > 0) {
      Wait();
      const double now = MsBetween(begin, SystemClock().Now());
      for (size_t i = 0; i < generations_.size(); ++i) {
        while (auto event = generations_[i]->TryNext()) {
          const int64_t before = marks[i].empty() ? 0 : marks[i].back().tokens;
          marks[i].push_back({now, before + static_cast<int64_t>(event->tokens.size())});
          running -= event->finish ? 1 : 0;
          if (event->finish == engine::FinishReason::kError) {
            return Fail(ErrorCode::kInternal,
                        fmt::format("the engine failed: {}; run `tradewind doctor`", event->error));
          }
        }
      }
    }
    return marks;
  }

 private:
  void Wait() {
    std::unique_lock lock(mutex_);
    condition_.wait(lock, [this] { return is_ready_; });
    is_ready_ = false;
  }

  const Generations& generations_;
  std::mutex mutex_;
  std::condition_variable condition_;
  bool is_ready_ = false;
};

// Tokens a second between the first and the last mark inside the window; 0 when there are no two.
double RateWithin(const std::vector<Mark>& marks, double begin_ms, double end_ms) {
  const auto is_inside = [&](const Mark& m) { return m.ms >= begin_ms && m.ms <= end_ms; };
  const auto first = std::ranges::find_if(marks, is_inside);
  const auto last = std::find_if(marks.rbegin(), marks.rend(), is_inside);
  if (first == marks.end() || last->ms - first->ms < kShortestMs) {
    return 0;
  }
  return static_cast<double>(last->tokens - first->tokens) * 1000.0 / (last->ms - first->ms);
}

// Of all sequences together, from the first token of the last of them to the end of the first.
double DecodeRate(const std::vector<engine::GenerateStats>& stats,
                  const std::vector<std::vector<Mark>>& marks) {
  double begin_ms = 0;
  double end_ms = marks.front().back().ms;
  double alone = 0;  // each by itself: for outputs too short to have such a window
  for (size_t i = 0; i < stats.size(); ++i) {
    begin_ms = std::max(begin_ms, stats[i].queue_ms + stats[i].prefill_ms);
    end_ms = std::min(end_ms, marks[i].back().ms);
    alone += stats[i].output_tokens > 1
                 ? (stats[i].output_tokens - 1) * 1000.0 / std::max(stats[i].decode_ms, kShortestMs)
                 : 0;
  }
  double together = 0;
  for (const auto& of_sequence : marks) {
    const double rate = RateWithin(of_sequence, begin_ms, end_ms);
    if (rate == 0) {
      return alone;
    }
    together += rate;
  }
  return stats.size() == 1 ? alone : together;
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// "512x1x1"; nullopt when it is no such thing, or out of bounds.
std::optional<BenchPlan> ParsePlan(std::string_view text, int64_t tokens_max,
                                   int64_t concurrency_max) {
  BenchPlan plan;
  struct Part {
    int64_t* out;
    int64_t max;
  };
  const char* at = text.data();
  const char* const end = at + text.size();
  for (const Part& part :
       {Part{&plan.prompt_tokens, tokens_max}, Part{&plan.output_tokens, tokens_max},
        Part{&plan.concurrency, concurrency_max}}) {
    if (part.out != &plan.prompt_tokens && (at == end || *at++ != 'x')) {
      return std::nullopt;
    }
    const auto [next, error] = std::from_chars(at, end, *part.out);
    if (error != std::errc() || *part.out < 1 || *part.out > part.max) {
      return std::nullopt;
    }
    at = next;
  }
  return at == end ? std::optional(plan) : std::nullopt;
}

}  // namespace

Result<std::vector<BenchPlan>> ParseBenchPlans(std::string_view text, int64_t tokens_max,
                                               int64_t concurrency_max) {
  constexpr size_t kPlansMax = 32;
  std::vector<BenchPlan> plans;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    const auto plan = ParsePlan(part, tokens_max, concurrency_max);
    if (!plan || plans.size() == kPlansMax) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("--plan has '{}': say PROMPTxOUTPUTxSEQUENCES, such as 512x64x1, "
                              "separated by commas",
                              part.substr(0, 64)),
                  "plan");
    }
    plans.push_back(*plan);
    text = comma == text.npos ? "" : text.substr(comma + 1);
  }
  return plans;
}

Result<BenchFigures> RunBenchPlan(engine::Engine& engine, const BenchPlan& plan,
                                  std::mt19937_64& random) {
  std::vector<engine::GenerateRequest> requests(static_cast<size_t>(plan.concurrency));
  for (engine::GenerateRequest& request : requests) {
    request.prompt = RandomPrompt(engine.tokenizer(), plan.prompt_tokens, random);
    request.max_tokens = static_cast<int>(plan.output_tokens);
    request.sampling.temperature = 0;
    request.ignore_end = true;
  }
  const auto begin = SystemClock().Now();
  TW_ASSIGN_OR_RETURN(const auto generations, engine.Submit(std::move(requests)));
  TW_ASSIGN_OR_RETURN(const auto marks, Collector(generations).Collect(begin));
  BenchFigures out;
  out.wall_ms = MsBetween(begin, SystemClock().Now());
  std::vector<engine::GenerateStats> stats;
  double prefill_ms = kShortestMs;
  double output_tokens = 0;
  for (const auto& generation : generations) {
    stats.push_back(generation->stats());
    const double first_token_ms = stats.back().queue_ms + stats.back().prefill_ms;
    prefill_ms = std::max(prefill_ms, first_token_ms);
    out.first_token_ms += first_token_ms / static_cast<double>(plan.concurrency);
    output_tokens += stats.back().output_tokens;
  }
  out.prefill_per_s =
      static_cast<double>(plan.prompt_tokens * plan.concurrency) * 1000.0 / prefill_ms;
  out.decode_per_s = DecodeRate(stats, marks);
  out.total_per_s = output_tokens * 1000.0 / std::max(out.wall_ms, kShortestMs);
  return out;
}

BenchFigures MedianOf(const std::vector<BenchFigures>& all) {
  BenchFigures out;
  for (double BenchFigures::* field :
       {&BenchFigures::prefill_per_s, &BenchFigures::first_token_ms, &BenchFigures::decode_per_s,
        &BenchFigures::total_per_s, &BenchFigures::wall_ms}) {
    std::vector<double> values;
    for (const BenchFigures& figures : all) {
      values.push_back(figures.*field);
    }
    out.*field = Median(std::move(values));
  }
  return out;
}

}  // namespace tradewind::cli
