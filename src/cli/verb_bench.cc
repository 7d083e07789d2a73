// bench: the engine in this process, without HTTP, beside what the machine can do at most.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/limits.h"
#include "cli/bench_limits.h"
#include "cli/bench_run.h"
#include "cli/engine_settings.h"
#include "cli/json_output.h"
#include "cli/model_file.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "engine/engine.h"
#include "engine/probe/probe.h"

namespace tradewind::cli {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();  // null in JSON

struct BenchSettings {
  std::vector<BenchPlan> plans;
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
  TW_ASSIGN_OR_RETURN(out.plans,
                      ParseBenchPlans(settings.Text("plan"), kTokensMax, limits::kSlotsMax));
  for (const int64_t prompt : out.plans.empty() ? prompts : std::vector<int64_t>()) {
    for (const int64_t concurrency : concurrencies) {
      out.plans.push_back({prompt, *output, concurrency});
    }
  }
  out.options.slots = 1;
  for (const BenchPlan& plan : out.plans) {
    out.options.slots = std::max(out.options.slots, static_cast<int>(plan.concurrency));
  }
  if (out.plans.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "there is nothing to measure; see `tradewind help bench`");
  }
  return out;
}

// One plan's medians, and the read bandwidth measured before and after them: on shared machines it
// is no constant.
struct Row {
  BenchPlan plan;
  BenchFigures figures;
  double read_gb_per_s = kUnknown;
  int64_t resident_bytes = 0;
};

struct Report {
  catalog::LocalModel model;
  engine::ModelInfo info;
  ModelWork work;
  engine::DotPeaks peaks;
  double load_ms = 0;
  int64_t reps = 0;
  std::vector<Row> rows;
};

double GmacPerSecond(const std::optional<engine::DotPeak>& peak) {
  return peak ? peak->gmac_per_s : kUnknown;
}

// The first repetition is short: it brings the weights into memory and the buffers to their size.
// `show` is called before each.
template <class Show>
Result<Row> RunPlan(engine::Engine& engine, const BenchPlan& plan, int64_t reps,
                    std::mt19937_64& random, const Show& show) {
  BenchPlan warm_up = plan;
  warm_up.prompt_tokens = std::min<int64_t>(plan.prompt_tokens, 32);
  warm_up.output_tokens = std::min<int64_t>(plan.output_tokens, 4);
  std::vector<BenchFigures> all;
  for (int64_t rep = 0; rep <= reps; ++rep) {
    show();
    TW_ASSIGN_OR_RETURN(const BenchFigures figures,
                        RunBenchPlan(engine, rep == 0 ? warm_up : plan, random));
    if (rep > 0) {
      all.push_back(figures);
    }
  }
  return Row{plan, MedianOf(all), kUnknown, ResidentBytes()};
}

Status RunPlans(engine::Engine& engine, const BenchSettings& bench, Progress& progress,
                Report& report) {
  const auto read = [&] {
    return engine::ProbeReadBandwidth(report.info.threads).value_or(kUnknown);
  };
  int64_t done = 0;
  const int64_t total = static_cast<int64_t>(bench.plans.size()) * (bench.reps + 1);
  progress.Show("measuring the limits of this machine", done, total);
  report.peaks = engine::ProbeDotPeaks(report.info.threads);
  std::mt19937_64 random(1);
  double before = read();
  for (const BenchPlan& plan : bench.plans) {
    const auto show = [&] {
      progress.Show(fmt::format("measuring prompt {} output {} concurrency {}", plan.prompt_tokens,
                                plan.output_tokens, plan.concurrency),
                    done++, total);
    };
    TW_ASSIGN_OR_RETURN(Row row, RunPlan(engine, plan, bench.reps, random, show));
    const double after = read();
    row.read_gb_per_s = (before + after) / 2;
    before = after;
    report.rows.push_back(row);
  }
  return {};
}

void WriteRow(dialects::JsonWriter& json, const Report& report, const Row& row) {
  const Achieved achieved = AchievedBy(row.figures, row.plan, report.work);
  const double decode = row.plan.output_tokens > 1 ? 1 : kUnknown;
  json.BeginObject()
      .Field("prompt_tokens", row.plan.prompt_tokens)
      .Field("output_tokens", row.plan.output_tokens)
      .Field("concurrency", row.plan.concurrency)
      .Field("prefill_tokens_per_s", row.figures.prefill_per_s)
      .Field("first_token_ms", row.figures.first_token_ms)
      .Field("decode_tokens_per_s", row.figures.decode_per_s * decode)
      .Field("total_output_tokens_per_s", row.figures.total_per_s)
      .Field("wall_ms", row.figures.wall_ms)
      .Field("rss_bytes", row.resident_bytes)
      .Field("read_gb_per_s", row.read_gb_per_s)
      .Field("decode_gb_per_s", achieved.decode_gb_per_s * decode)
      .Field("decode_of_read", achieved.decode_gb_per_s / row.read_gb_per_s * decode)
      .Field("prefill_gmac_per_s", achieved.prefill_gmac_per_s)
      .Field("prefill_of_f32", achieved.prefill_gmac_per_s / GmacPerSecond(report.peaks.f32))
      .Field("prefill_of_int16", achieved.prefill_gmac_per_s / GmacPerSecond(report.peaks.int16))
      .Field("prefill_of_int8", achieved.prefill_gmac_per_s / GmacPerSecond(report.peaks.int8))
      .EndObject();
}

std::string AsJson(const Report& report) {
  auto json = BeginJson("bench");
  json.Field("model", report.model.id)
      .Field("quantization", report.info.quantization)
      .Field("kernels", report.info.kernels)
      .Field("activations", report.info.activations)
      .Field("threads", report.info.threads)
      .Field("load_ms", report.load_ms)
      .Field("reps", report.reps)
      .Field("weight_bytes", report.work.step_bytes)
      .Field("macs_per_token", report.work.matrix_macs + report.work.head_macs);
  WritePeaks(json, report.peaks);
  json.Key("results").BeginArray();
  for (const Row& row : report.rows) {
    WriteRow(json, report, row);
  }
  json.EndArray();
  return EndJson(json);
}

// "12.3 (61%)", or without the share where the limit is unknown.
std::string WithShare(double value, double limit) {
  return std::isfinite(value / limit) ? fmt::format("{:.1f} ({:.0f}%)", value, 100 * value / limit)
                                      : fmt::format("{:.1f}", value);
}

std::string AsText(const Report& report, bool color) {
  std::string out =
      fmt::format("{}  {}  {} kernels  {} threads  loaded in {:.2f}s  medians of {}\n",
                  WithoutControls(report.model.id), report.info.quantization, report.info.kernels,
                  report.info.threads, report.load_ms / 1000, report.reps);
  std::vector<std::vector<std::string>> rows = {{"PROMPT", "OUTPUT", "CONC", "PREFILL/S",
                                                 "GMAC/S (OF INT8)", "FIRST TOKEN", "DECODE/S",
                                                 "GB/S (OF READ)", "TOTAL/S"}};
  for (const Row& row : report.rows) {
    const Achieved achieved = AchievedBy(row.figures, row.plan, report.work);
    const bool decodes = row.plan.output_tokens > 1;  // one token is no speed
    rows.push_back(
        {fmt::format("{}", row.plan.prompt_tokens), fmt::format("{}", row.plan.output_tokens),
         fmt::format("{}", row.plan.concurrency), fmt::format("{:.1f}", row.figures.prefill_per_s),
         WithShare(achieved.prefill_gmac_per_s, GmacPerSecond(report.peaks.int8)),
         fmt::format("{:.0f} ms", row.figures.first_token_ms),
         decodes ? fmt::format("{:.1f}", row.figures.decode_per_s) : "-",
         decodes ? WithShare(achieved.decode_gb_per_s, row.read_gb_per_s) : "-",
         fmt::format("{:.1f}", row.figures.total_per_s)});
  }
  out += FormatTable(rows, color);
  for (const auto& peak : {report.peaks.f32, report.peaks.int16, report.peaks.int8}) {
    out += peak ? fmt::format("limit: {:.0f} GMAC/s by {}\n", peak->gmac_per_s, peak->instruction)
                : "";
  }
  return out + fmt::format("limit: {:.1f} GB/s read beside the last row\n",
                           report.rows.back().read_gb_per_s);
}

}  // namespace

Result<ExitCode> RunBench(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const BenchSettings bench, ReadBench(settings));
  Report report;
  TW_ASSIGN_OR_RETURN(report.model, FindModel(settings, settings.Words(0).front()));
  TW_ASSIGN_OR_RETURN(const Progress::Style style, Progress::ReadStyle(settings, as_json));
  Progress progress(style);
  progress.Show("loading the model");
  const auto begin = SystemClock().Now();
  TW_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Engine> engine,
                      engine::Engine::Load(report.model.path, bench.options));
  report.load_ms = MsBetween(begin, SystemClock().Now());
  report.info = engine->info();
  report.reps = bench.reps;
  TW_ASSIGN_OR_RETURN(report.work, ReadModelWork(report.model.path, report.info));
  TW_RETURN_IF_ERROR(RunPlans(*engine, bench, progress, report));
  progress.Clear();
  Print(as_json ? AsJson(report) : AsText(report, UseColor(stdout, settings.environment())));
  return ExitCode::kDone;
}

}  // namespace tradewind::cli
