// ls and show.
#include <ctime>

#include <fmt/format.h>

#include "cli/home.h"
#include "cli/json_output.h"
#include "cli/model_file.h"
#include "cli/terminal.h"
#include "cli/verbs.h"

namespace tradewind::cli {
namespace {

std::string Date(int64_t unix_s, const char* format) {
  const std::time_t time = static_cast<std::time_t>(unix_s);
  std::tm broken_down{};
  ::gmtime_r(&time, &broken_down);
  char text[32];
  return std::strftime(text, sizeof(text), format, &broken_down) > 0 ? text : "";
}

// A file that cannot be read still has a row: with what is wrong.
Result<ModelDescription> Describe(const catalog::LocalModel& model) {
  if (model.error) {
    return Fail(ErrorCode::kCorruptFile, *model.error);
  }
  return DescribeModel(model.path);
}

void WriteModel(dialects::JsonWriter& json, const catalog::LocalModel& model,
                const Result<ModelDescription>& about) {
  json.Field("id", model.id).Field("path", model.path.string()).Field("bytes", model.bytes);
  json.Field("modified", Date(model.modified_unix_s, "%Y-%m-%dT%H:%M:%SZ"));
  const ModelDescription known = about.value_or(ModelDescription{});
  TextOrNull(json, "architecture", known.architecture);
  TextOrNull(json, "name", known.name);
  TextOrNull(json, "license", known.license);
  TextOrNull(json, "quantization", known.quantization);
  FieldOrNull(json, "parameters", about ? std::optional<int64_t>(known.parameters) : std::nullopt);
  FieldOrNull(json, "context", known.context);
  FieldOrNull(json, "error",
              about ? std::nullopt : std::optional<std::string>(about.error().message));
}

std::string Number(const std::optional<int64_t>& value) {
  return value ? fmt::format("{}", *value) : "-";
}

constexpr engine::KvType kKvTypes[] = {engine::KvType::kF16, engine::KvType::kQ8_0,
                                       engine::KvType::kF32};

std::string KvText(const ModelDescription& about) {
  std::string text;
  for (const engine::KvType type : kKvTypes) {
    if (const auto bytes = about.KvBytesPerToken(type)) {
      text +=
          fmt::format("{}{} {}", text.empty() ? "" : ", ", engine::Name(type), FormatBytes(*bytes));
    }
  }
  return text.empty() ? text : text + " a position";
}

std::string ShowText(const catalog::LocalModel& model, const ModelDescription& about) {
  std::vector<std::vector<std::string>> rows = {{"id", model.id}, {"path", model.path.string()}};
  const auto add = [&rows](std::string name, std::string value) {
    rows.push_back({std::move(name), value.empty() ? "-" : std::move(value)});
  };
  add("name", about.name);
  add("license", about.license);
  add("architecture", about.architecture);
  add("parameters", FormatCount(about.parameters));
  add("quantization", about.quantization);
  add("file size", FormatBytes(model.bytes));
  add("context", Number(about.context));
  add("layers", Number(about.layers));
  add("model dim", Number(about.model_dim));
  add("heads", fmt::format("{} ({} for keys and values)", Number(about.heads),
                           Number(about.kv_heads ? about.kv_heads : about.heads)));
  add("kv cache", KvText(about));
  add("ffn dim", Number(about.ffn_dim));
  add("vocabulary", Number(about.vocab_size));
  add("chat template", about.chat_template.empty()
                           ? "none: ChatML is used"
                           : fmt::format("{} characters", about.chat_template.size()));
  add("sampling",
      about.recommends_sampling() ? about.Recommendation() : "no recommendation in the file");
  return FormatTable(rows, false);
}

std::string ShowJson(const catalog::LocalModel& model, const Result<ModelDescription>& about) {
  auto json = BeginJson("model");
  WriteModel(json, model, about);
  FieldOrNull(json, "layers", about->layers);
  FieldOrNull(json, "model_dim", about->model_dim);
  FieldOrNull(json, "heads", about->heads);
  FieldOrNull(json, "kv_heads", about->kv_heads);
  json.Key("kv_bytes_per_token").BeginObject();
  for (const engine::KvType type : kKvTypes) {
    FieldOrNull(json, engine::Name(type), about->KvBytesPerToken(type));
  }
  json.EndObject();
  FieldOrNull(json, "ffn_dim", about->ffn_dim);
  FieldOrNull(json, "vocab_size", about->vocab_size);
  json.Field("tensors", about->tensors).Field("weight_bytes", about->weight_bytes);
  TextOrNull(json, "chat_template", about->chat_template);
  json.Key("recommended_sampling");
  if (about->recommends_sampling()) {
    json.BeginObject();
    FieldOrNull(json, "temperature", about->temperature);
    FieldOrNull(json, "top_p", about->top_p);
    FieldOrNull(json, "min_p", about->min_p);
    FieldOrNull(json, "top_k", about->top_k);
    json.EndObject();
  } else {
    json.Null();
  }
  return EndJson(json);
}

}  // namespace

Result<ExitCode> RunList(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const bool quiet, settings.Switch("quiet"));
  TW_ASSIGN_OR_RETURN(const std::filesystem::path folder, ModelsFolder(settings));
  TW_ASSIGN_OR_RETURN(const catalog::LocalModels models, ScanModels(settings));
  for (const std::string& warning : models.warnings()) {
    fmt::print(stderr, "tradewind: warning: {}\n", WithoutControls(warning));
  }
  auto json = BeginJson("models");
  json.Field("folder", folder.string()).Key("models").BeginArray();
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "SIZE", "PARAMS", "QUANT", "CTX", "MODIFIED"}};
  std::string names;
  for (const catalog::LocalModel& model : models.models()) {
    if (quiet && !as_json) {
      names += WithoutControls(model.id) + "\n";
      continue;
    }
    const auto about = Describe(model);
    json.BeginObject();
    WriteModel(json, model, about);
    json.EndObject();
    rows.push_back(about
                       ? std::vector<std::string>{model.id, FormatBytes(model.bytes),
                                                  FormatCount(about->parameters),
                                                  about->quantization, Number(about->context),
                                                  Date(model.modified_unix_s, "%Y-%m-%d")}
                       : std::vector<std::string>{model.id, FormatBytes(model.bytes), "-", "-", "-",
                                                  "cannot be used: " + about.error().message});
  }
  json.EndArray();
  if (as_json) {
    Print(EndJson(json));
  } else if (quiet) {
    Print(names);
  } else if (models.models().empty()) {
    fmt::print(stderr,
               "no models in {}; put a GGUF file there, or name one by its path: tradewind run "
               "./model.gguf\n",
               folder.string());
  } else {
    Print(FormatTable(rows, UseColor(stdout, settings.environment())));
  }
  return ExitCode::kDone;
}

Result<ExitCode> RunShow(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(const bool only_template, settings.Switch("template"));
  TW_ASSIGN_OR_RETURN(const catalog::LocalModel model,
                      FindModel(settings, settings.Words(0).front()));
  const auto about = DescribeModel(model.path);
  TW_RETURN_IF_ERROR(about);
  if (only_template) {
    Print(IsTerminal(stdout) ? WithoutControls(about->chat_template) + "\n" : about->chat_template);
  } else {
    Print(as_json ? ShowJson(model, about) : ShowText(model, *about));
  }
  return ExitCode::kDone;
}

}  // namespace tradewind::cli
