// bench: the engine in this process, without HTTP.
#include <algorithm>
#include <memory>
#include <random>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/limits.h"
#include "cli/engine_settings.h"
#include "cli/json_output.h"
#include "cli/model_file.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "engine/engine.h"

namespace tradewind::cli {
namespace {

struct Plan {
  int64_t prompt_tokens = 0, output_tokens = 0, concurrency = 1;
};

// One repetition, or the median of several. Rates: per sequence while it runs, and of all sequences
// over the wall time.
struct Figures {
  double prefill_per_s = 0, first_token_ms = 0, decode_per_s = 0, total_per_s = 0, wall_ms = 0;
};

// Ordinary tokens only, and others each time: no prefix can be reused.
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

Result<Figures> Measure(engine::Engine& engine, const Plan& plan, std::mt19937_64& random) {
  std::vector<engine::GenerateRequest> requests(static_cast<size_t>(plan.concurrency));
  for (engine::GenerateRequest& request : requests) {
    request.prompt = RandomPrompt(engine.tokenizer(), plan.prompt_tokens, random);
    request.max_tokens = static_cast<int>(plan.output_tokens);
    request.sampling.temperature = 0;
    request.ignore_end = true;
  }
  const auto begin = SystemClock().Now();
  TW_ASSIGN_OR_RETURN(auto generations, engine.Submit(std::move(requests)));
  Figures out;
  double output_tokens = 0;
  for (const auto& generation : generations) {
    engine::GenerateEvent event;
    do {
      event = generation->Next();
    } while (!event.finish);
    if (*event.finish == engine::FinishReason::kError) {
      return Fail(ErrorCode::kInternal,
                  fmt::format("the engine failed: {}; run `tradewind doctor`", event.error));
    }
    const engine::GenerateStats stats = generation->stats();
    const double n = static_cast<double>(plan.concurrency);
    out.prefill_per_s += stats.prompt_tokens * 1000.0 / std::max(stats.prefill_ms, 1e-3) / n;
    out.first_token_ms += (stats.queue_ms + stats.prefill_ms) / n;
    out.decode_per_s += stats.output_tokens > 1 ? (stats.output_tokens - 1) * 1000.0 /
                                                      std::max(stats.decode_ms, 1e-3) / n
                                                : 0;
    output_tokens += stats.output_tokens;
  }
  out.wall_ms = MsBetween(begin, SystemClock().Now());
  out.total_per_s = output_tokens * 1000 / std::max(out.wall_ms, 1e-3);
  return out;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

Figures MedianOf(const std::vector<Figures>& all) {
  Figures out;
  for (double Figures::* field :
       {&Figures::prefill_per_s, &Figures::first_token_ms, &Figures::decode_per_s,
        &Figures::total_per_s, &Figures::wall_ms}) {
    std::vector<double> values;
    for (const Figures& figures : all) {
      values.push_back(figures.*field);
    }
    out.*field = Median(std::move(values));
  }
  return out;
}

struct BenchSettings {
  std::vector<Plan> plans;
  int64_t reps = 3;
  engine::EngineOptions options;
};

Result<BenchSettings> ReadBench(const Settings& settings) {
  constexpr int64_t kRepsMax = 1000, kTokensMax = 1 << 20;
  BenchSettings out;
  TW_ASSIGN_OR_RETURN(const auto prompts, settings.Integers("prompt-tokens", 1, kTokensMax));
  TW_ASSIGN_OR_RETURN(const auto output, settings.Integer("gen-tokens", 1, kTokensMax));
  TW_ASSIGN_OR_RETURN(const auto concurrencies,
                      settings.Integers("concurrency", 1, limits::kSlotsMax));
  TW_ASSIGN_OR_RETURN(const auto reps, settings.Integer("reps", 1, kRepsMax));
  TW_ASSIGN_OR_RETURN(out.options, ReadEngineOptions(settings));
  out.reps = *reps;
  out.options.slots = 1;
  for (const int64_t prompt : prompts) {
    for (const int64_t concurrency : concurrencies) {
      out.plans.push_back({prompt, *output, concurrency});
      out.options.slots = std::max(out.options.slots, static_cast<int>(concurrency));
    }
  }
  if (out.plans.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "there is nothing to measure; see `tradewind help bench`");
  }
  return out;
}

void WriteRow(dialects::JsonWriter& json, const Plan& plan, const Figures& figures) {
  json.BeginObject()
      .Field("prompt_tokens", plan.prompt_tokens)
      .Field("output_tokens", plan.output_tokens)
      .Field("concurrency", plan.concurrency)
      .Field("prefill_tokens_per_s", figures.prefill_per_s)
      .Field("first_token_ms", figures.first_token_ms)
      .Field("decode_tokens_per_s", figures.decode_per_s)
      .Field("total_output_tokens_per_s", figures.total_per_s)
      .Field("wall_ms", figures.wall_ms)
      .EndObject();
}

}  // namespace

Result<ExitCode> RunBench(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const BenchSettings bench, ReadBench(settings));
  TW_ASSIGN_OR_RETURN(const catalog::LocalModel model,
                      FindModel(settings, settings.Words(0).front()));
  TW_ASSIGN_OR_RETURN(const Progress::Style style, Progress::ReadStyle(settings, as_json));
  Progress progress(style);
  progress.Show("loading the model");
  const auto begin = SystemClock().Now();
  TW_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Engine> engine,
                      engine::Engine::Load(model.path, bench.options));
  const double load_ms = MsBetween(begin, SystemClock().Now());
  const engine::ModelInfo& info = engine->info();

  auto json = BeginJson("bench");
  json.Field("model", model.id)
      .Field("quantization", info.quantization)
      .Field("kernels", info.kernels);
  json.Field("threads", info.threads)
      .Field("load_ms", load_ms)
      .Field("reps", bench.reps)
      .Key("results")
      .BeginArray();
  std::vector<std::vector<std::string>> rows = {
      {"PROMPT", "OUTPUT", "CONC", "PREFILL/S", "FIRST TOKEN", "DECODE/S", "TOTAL/S"}};
  std::mt19937_64 random(1);
  int64_t done = 0;
  const int64_t total = static_cast<int64_t>(bench.plans.size()) * (bench.reps + 1);
  for (const Plan& plan : bench.plans) {
    std::vector<Figures> all;
    for (int64_t rep = 0; rep <= bench.reps; ++rep) {
      progress.Show(fmt::format("measuring prompt {} output {} concurrency {}", plan.prompt_tokens,
                                plan.output_tokens, plan.concurrency),
                    done++, total);
      TW_ASSIGN_OR_RETURN(const Figures figures, Measure(*engine, plan, random));
      if (rep > 0) {  // the first one warms caches and pages up
        all.push_back(figures);
      }
    }
    const Figures median = MedianOf(all);
    WriteRow(json, plan, median);
    rows.push_back(
        {fmt::format("{}", plan.prompt_tokens), fmt::format("{}", plan.output_tokens),
         fmt::format("{}", plan.concurrency), fmt::format("{:.1f}", median.prefill_per_s),
         fmt::format("{:.0f} ms", median.first_token_ms),
         fmt::format("{:.1f}", median.decode_per_s), fmt::format("{:.1f}", median.total_per_s)});
  }
  progress.Clear();
  json.EndArray();
  if (as_json) {
    Print(EndJson(json));
  } else {
    Print(fmt::format("{}  {}  {} kernels  {} threads  loaded in {:.2f}s  medians of {}\n",
                      WithoutControls(model.id), info.quantization, info.kernels, info.threads,
                      load_ms / 1000, bench.reps));
    Print(FormatTable(rows, UseColor(stdout, settings.environment())));
  }
  return ExitCode::kDone;
}

}  // namespace tradewind::cli
