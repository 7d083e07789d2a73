// Every file of the reference data is read by a test, or left out for a reason that stands here:
// a file that nobody has looked at fails this test.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "testing/data.h"

namespace tradewind {
namespace {

namespace fs = std::filesystem;

struct Rule {
  const char* files;         // regular expression over golden/..., vectors/...
  const char* read_by;       // a file below the repository that reads them; "" = nobody
  const char* why_not = "";  // of those that nobody reads
};

constexpr const char* kSafetensorsLater = "safetensors files are not read as models yet";

const std::vector<Rule> kRules = {
    {R"(.*/README\.md)", "", "prose"},
    {R"(golden/make/.*)", "", "the scripts that made the data"},
    {R"(golden/ministral3/(lora|finetune)/.*)", "", "adapters are not applied yet"},
    {R"(golden/ministral3/vision/.*)", "", "images are not read yet"},
    {R"(golden/ministral3/fp8/.*)", "", kSafetensorsLater},
    {R"(golden/ministral3/(text-.*|llama3-rope|mistral-swa)/config.*\.json)", "",
     "of the safetensors files; the GGUF files have the same settings as keys"},
    {R"(golden/ministral3/(text-.*|llama3-rope)/(model.*\.safetensors|model.*index\.json))", "",
     kSafetensorsLater},
    {R"(golden/ministral3/mistral-swa/model\.safetensors)", "src/engine/model/golden_test.cc"},
    {R"(golden/ministral3/[^/]*/(inputs\.json|logits_[0-9]\.npy))",
     "src/engine/model/golden_test.cc"},
    {R"(golden/ministral3/text-tied/logits_(linear|yarn_.*)\.npy)",
     "src/engine/model/golden_test.cc"},
    {R"(golden/ministral3/[^/]*/rope\.safetensors)", "src/engine/model/golden_layers_test.cc"},
    {R"(golden/ministral3/mistral-swa/intermediate\.safetensors)", "",
     "its weights are no GGUF file; the logits of the same pass are compared"},
    {R"(golden/ministral3/(text-.*|llama3-rope)/intermediate\.safetensors)",
     "src/engine/model/golden_layers_test.cc"},
    {R"(golden/ministral3/gguf/(text|llama3).*(\.gguf|\.npy))", "src/engine/model/golden_test.cc"},
    {R"(golden/ministral3/gguf/.*\.tokenized\.json)",
     "src/engine/tokenizer/tokenizer_reference_test.cc"},
    {R"(golden/ministral3/gguf/lora-.*\.gguf)", "src/engine/format/gguf_files_test.cc"},
    {R"(golden/ministral3/gguf/compare\.json)", "",
     "says how far llama.cpp is from transformers: where our tolerances come from"},
    {R"(golden/ministral3/sampler/sampler\.json)", "src/engine/sampler/sampler_test.cc"},
    {R"(golden/smollm2/(logits\.json|logits_._last\.npy|perplexity\.json|greedy\.json))",
     "src/engine/golden_smollm2_test.cc"},
    {R"(golden/smollm2/(text\.txt|text_ids\.npy|tokenizer\.json))",
     "src/engine/tokenizer/tokenizer_reference_test.cc"},
    {R"(golden/templates/.*)", "src/engine/prompt/golden_test.cc"},
    {R"(vectors/iq_grids\.json)", "src/engine/quant/dequantize_test.cc"},
    {R"(vectors/synthetic/quant_blocks\.json)", "src/engine/quant/dequantize_test.cc"},
    {R"(vectors/synthetic/tiny-.*)", "src/engine/model/golden_test.cc"},
    {R"(vectors/tekken/.*\.json)", "src/engine/tokenizer/tekken_test.cc"},
    {R"(vectors/tokenizers/.*)", "src/engine/tokenizer/tokenizer_reference_test.cc"},
    {R"(vectors/mistral-common/samples/.*/sample\.json)", "",
     "a conversation as messages; its text and ids are compared, which template and tokenizer "
     "make"},
    {R"(vectors/mistral-common/(models/.*|samples/.*/(text|tokens)_v[0-9]\.(txt|json)))",
     "src/engine/tokenizer/tokenizer_reference_test.cc"},
};

// Fields of files that are read, which are not.
constexpr const char* kFieldsLeftOut =
    "greedy.json and perplexity.json: llama_cpp, whose 8-bit activations are not our arithmetic;\n"
    "perplexity.json: ppl_llama_perplexity, the same sums over 255 of the 256 values compared\n";

TEST(ReferenceData, NoFileIsLeftOutWithoutAReason) {
  TW_NEED_REFERENCE("golden/ministral3/README.md");
  std::vector<int> files(kRules.size());
  for (const char* folder : {"golden", "vectors"}) {
    for (const auto& entry : fs::recursive_directory_iterator(testing::SharedDir() / folder)) {
      if (!entry.is_regular_file()) {
        continue;
      }
      const std::string path = fs::relative(entry.path(), testing::SharedDir()).string();
      const auto rule = std::ranges::find_if(
          kRules, [&](const Rule& r) { return std::regex_match(path, std::regex(r.files)); });
      EXPECT_NE(rule, kRules.end()) << path << " is neither read by a test nor left out here";
      if (rule != kRules.end()) {
        ++files[static_cast<size_t>(rule - kRules.begin())];
      }
    }
  }
  for (size_t i = 0; i < kRules.size(); ++i) {
    const Rule& rule = kRules[i];
    EXPECT_GT(files[i], 0) << rule.files << " matches nothing any more";
    const bool is_read = *rule.read_by != '\0';
    EXPECT_TRUE(is_read ? fs::exists(fs::path(TW_SOURCE_DIR) / rule.read_by)
                        : *rule.why_not != '\0')
        << rule.files;
    if (!is_read) {
      std::printf("left out: %s (%d files): %s\n", rule.files, files[i], rule.why_not);
    }
  }
  std::printf("left out: %s", kFieldsLeftOut);
}

}  // namespace
}  // namespace tradewind
