#include "engine/tokenizer/sentencepiece_tokenizer.h"

#include <algorithm>
#include <utility>

#include "engine/tokenizer/word_encoder.h"

namespace tradewind::engine {
namespace {

// Where a word begins: at a space that follows something else.
size_t NextWordStart(std::string_view text, size_t from) {
  for (size_t i = std::max<size_t>(from, 1); i < text.size(); ++i) {
    if (text[i] == ' ' && text[i - 1] != ' ') {
      return i;
    }
  }
  return text.size();
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(Vocabulary vocabulary, Merging merging, bool add_space_prefix)
      : Tokenizer(std::move(vocabulary)),
        add_space_prefix_(add_space_prefix),
        words_(WordEncoder::Start::kCharacters, std::move(merging), kinds_, bytes_) {
    strips_leading_space_ = add_space_prefix;
    for (size_t i = 0; i < bytes_.size(); ++i) {
      if (kinds_[i] == TokenKind::kNormal && NextWordStart(bytes_[i], 0) < bytes_[i].size()) {
        tokens_cross_words_ = true;
      }
    }
  }

 private:
  void EncodeOrdinary(std::string_view text, bool at_start, bool after_special,
                      std::vector<TokenId>& ids) const override {
    std::string spaced;
    spaced.reserve(text.size() + 1);
    if (add_space_prefix_ && (at_start || after_special)) {
      spaced.push_back(' ');
    }
    for (size_t at = 0; at < text.size();) {
      const size_t mark = std::min(text.find(kSpaceMark, at), text.size());
      spaced.append(text.substr(at, mark - at));
      at = mark;
      if (mark < text.size()) {
        spaced.push_back(' ');
        at += kSpaceMark.size();
      }
    }
    // Merging is defined over the whole text. When no token goes on past a word's end no merge
    // does either, so words give the same ids, sooner.
    MergeScratch scratch;
    for (size_t at = 0; at < spaced.size();) {
      const size_t end = tokens_cross_words_ ? spaced.size() : NextWordStart(spaced, at + 1);
      words_.Encode(std::string_view(spaced).substr(at, end - at), scratch, ids);
      at = end;
    }
  }

  bool add_space_prefix_;
  bool tokens_cross_words_ = false;
  WordEncoder words_;
};

}  // namespace

std::unique_ptr<Tokenizer> MakeSentencePieceTokenizer(Vocabulary vocabulary) {
  Merging merging = std::move(vocabulary.merging);
  const bool add_space_prefix = vocabulary.add_space_prefix;
  return std::make_unique<SentencePieceTokenizer>(std::move(vocabulary), std::move(merging),
                                                  add_space_prefix);
}

}  // namespace tradewind::engine
