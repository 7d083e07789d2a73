#include "cli/model_file.h"

#include <array>
#include <map>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "catalog/model_ref.h"
#include "cli/home.h"
#include "cli/terminal.h"
#include "engine/format/gguf.h"

namespace tradewind::cli {
namespace {

constexpr std::string_view kCheckFile = "check the path, or fetch the file again";

std::optional<int64_t> VocabularySize(const engine::GgufFile& file) {
  const engine::GgufArray* tokens = file.Array("tokenizer.ggml.tokens");
  return tokens == nullptr ? std::nullopt
                           : std::optional<int64_t>(static_cast<int64_t>(tokens->count));
}

// Only what the API would take: a file's odd value must not fail every answer.
std::optional<double> RecommendedFloat(const engine::GgufFile& file, std::string_view key,
                                       double max) {
  const auto value = file.Float(key);
  return value && *value >= 0 && *value <= max ? value : std::nullopt;
}

std::string KeyText(const engine::GgufFile& file, std::string_view key) {
  return WithoutControls(file.String(key).value_or(""));
}

}  // namespace

Result<catalog::LocalModels> ScanModels(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const std::filesystem::path folder, ModelsFolder(settings));
  std::error_code ignored;
  if (!std::filesystem::exists(folder, ignored)) {
    return catalog::LocalModels();
  }
  return catalog::LocalModels::Scan(std::array{folder});
}

Result<catalog::LocalModel> FindModel(const Settings& settings, const std::string& reference) {
  TW_ASSIGN_OR_RETURN(const catalog::ModelRef ref,
                      catalog::ParseModelRef(reference, catalog::RefSource::kCommandLine));
  if (ref.is_path) {
    catalog::LocalModels one;
    const auto id = one.Add(ref.model);
    if (!id) {
      return Fail(WithNextStep(id.error(), kCheckFile));
    }
    return *one.Find(*id);
  }
  TW_ASSIGN_OR_RETURN(const catalog::LocalModels models, ScanModels(settings));
  const auto model = models.Resolve(reference, catalog::RefSource::kCommandLine);
  if (!model) {
    TW_ASSIGN_OR_RETURN(const std::filesystem::path folder, ModelsFolder(settings));
    return Fail(ErrorCode::kModelNotSupported,
                fmt::format("no model \"{}\" in {}; `tradewind ls` lists those that are there, and "
                            "a path to a GGUF file works too",
                            WithoutControls(reference), folder.string()),
                "model");
  }
  if ((*model)->error) {
    return Fail(ErrorCode::kCorruptFile,
                fmt::format("{} cannot be used: {}; {}", (*model)->path.string(), *(*model)->error,
                            kCheckFile));
  }
  return **model;
}

std::string ModelDescription::Recommendation() const {
  std::string out;
  const auto add = [&out](std::string_view name, const auto& value) {
    if (value) {
      out += fmt::format("{}{} {:.6g}", out.empty() ? "" : ", ", name, static_cast<double>(*value));
    }
  };
  add("temperature", temperature);
  add("top_p", top_p);
  add("min_p", min_p);
  add("top_k", top_k);
  return out;
}

std::optional<int64_t> ModelDescription::KvBytesPerToken(engine::KvType type) const {
  const std::optional<int64_t> of_kv = kv_heads ? kv_heads : heads;
  for (const auto& count : {layers, of_kv, head_dim}) {
    if (count.value_or(0) < 1 || *count > 1 << 20) {
      return std::nullopt;
    }
  }
  if (*layers * *of_kv > 1 << 20) {
    return std::nullopt;
  }
  return engine::KvBytesPerToken(*layers, *of_kv, *head_dim, type);
}

Result<ModelDescription> DescribeModel(const std::filesystem::path& path) {
  const auto opened = engine::GgufFile::Open(path);
  if (!opened) {
    return Fail(WithNextStep(opened.error(), kCheckFile));
  }
  const engine::GgufFile& file = *opened;
  ModelDescription out;
  out.architecture = KeyText(file, "general.architecture");
  out.name = KeyText(file, "general.name");
  out.license = KeyText(file, "general.license");
  out.chat_template = std::string(file.String("tokenizer.chat_template").value_or(""));
  out.tensors = static_cast<int64_t>(file.tensors().size());
  out.weight_bytes = static_cast<int64_t>(file.tensor_bytes());
  std::map<engine::TensorType, uint64_t> bytes_by_type;
  uint64_t most = 0;
  for (const engine::GgufTensor& tensor : file.tensors()) {
    out.parameters += static_cast<int64_t>(tensor.rows() * tensor.row_elements());
    const uint64_t bytes = bytes_by_type[tensor.type] += tensor.data.size();
    if (bytes > most) {
      most = bytes;
      out.quantization = std::string(engine::TraitsOf(tensor.type).name);
    }
  }
  const auto shape = [&](std::string_view key) {
    return file.Integer(fmt::format("{}.{}", out.architecture, key));
  };
  out.context = shape("context_length");
  out.layers = shape("block_count");
  out.model_dim = shape("embedding_length");
  out.heads = shape("attention.head_count");
  out.kv_heads = shape("attention.head_count_kv");
  out.head_dim = shape("attention.key_length");
  if (!out.head_dim && out.model_dim && out.heads.value_or(0) > 0) {
    out.head_dim = *out.model_dim / *out.heads;
  }
  out.ffn_dim = shape("feed_forward_length");
  out.vocab_size = VocabularySize(file);
  out.temperature = RecommendedFloat(file, "general.sampling.temp", 2);
  out.top_p = RecommendedFloat(file, "general.sampling.top_p", 1);
  out.top_p = out.top_p == 0.0 ? std::nullopt : out.top_p;
  out.min_p = RecommendedFloat(file, "general.sampling.min_p", 1);
  if (const auto top_k = file.Integer("general.sampling.top_k");
      top_k && *top_k > 0 && *top_k <= INT32_MAX) {
    out.top_k = top_k;
  }
  return out;
}

Result<std::function<int64_t(std::string_view)>> LoadTokenCounter(
    const std::filesystem::path& path) {
  TW_ASSIGN_OR_RETURN(const engine::GgufFile file, engine::GgufFile::Open(path));
  TW_ASSIGN_OR_RETURN(std::shared_ptr<const engine::Tokenizer> tokenizer,
                      engine::Tokenizer::FromGguf(file));
  return [tokenizer = std::move(tokenizer)](std::string_view text) {
    return static_cast<int64_t>(tokenizer->Encode(text).size());
  };
}

std::string UseRecommendedSampling(const ModelDescription& about, ChatCall& call) {
  ModelDescription used;
  const auto fill = [](auto& asked, const auto& recommended, auto& taken) {
    if (!asked && recommended) {
      asked = taken = recommended;
    }
  };
  fill(call.temperature, about.temperature, used.temperature);
  fill(call.top_p, about.top_p, used.top_p);
  fill(call.min_p, about.min_p, used.min_p);
  fill(call.top_k, about.top_k, used.top_k);
  return used.Recommendation();
}

}  // namespace tradewind::cli
