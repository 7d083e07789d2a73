#include "engine/tokenizer/byte_level_tokenizer.h"

#include <utility>

#include "engine/tokenizer/pre_tokenizer.h"
#include "engine/tokenizer/word_encoder.h"

namespace tradewind::engine {
namespace {

class ByteLevelTokenizer final : public Tokenizer {
 public:
  ByteLevelTokenizer(Vocabulary vocabulary, Merging merging, const PreTokenizerRule& rule)
      : Tokenizer(std::move(vocabulary)),
        pre_tokenizer_(rule),
        words_(WordEncoder::Start::kBytes, std::move(merging), kinds_, bytes_) {}

 private:
  void EncodeOrdinary(std::string_view text, bool, bool, std::vector<TokenId>& ids) const override {
    MergeScratch scratch;
    pre_tokenizer_.Split(text, [&](std::string_view word) { words_.Encode(word, scratch, ids); });
  }

  PreTokenizer pre_tokenizer_;
  WordEncoder words_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> MakeByteLevelTokenizer(Vocabulary vocabulary) {
  TW_ASSIGN_OR_RETURN(const PreTokenizerRule rule, FindPreTokenizerRule(vocabulary.pre_name));
  Merging merging = std::move(vocabulary.merging);
  return std::make_unique<ByteLevelTokenizer>(std::move(vocabulary), std::move(merging), rule);
}

}  // namespace tradewind::engine
