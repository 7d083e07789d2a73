// Bytes per second of encoding, on synthetic prose with a vocabulary learnt from its own words.
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "base/check.h"
#include "engine/tokenizer/byte_level_tokenizer.h"
#include "engine/tokenizer/sentencepiece_tokenizer.h"

namespace tradewind::engine {
namespace {

// 64 KiB of made-up words, frequent ones short, with punctuation.
const std::string& Prose() {
  static const std::string prose = [] {
    std::mt19937 random(7);
    std::vector<std::string> words;
    for (size_t i = 0; i < 3000; ++i) {
      std::string word;
      for (size_t k = 2 + i / 400; k > 0; --k) {
        word += "bdfgklmnprst"[random() % 12];
        word += "aeiou"[random() % 5];
      }
      words.push_back(word);
    }
    std::string text;
    while (text.size() < 64 << 10) {
      const double pick = static_cast<double>(random() % 10000) / 10000;
      text += words[static_cast<size_t>(pick * pick * pick * 3000)];
      text += random() % 12 == 0 ? ". " : random() % 8 == 0 ? ", " : " ";
    }
    return text;
  }();
  return prose;
}

// Every prefix of every other word is a token, reached by a merge per letter.
Vocabulary MakeVocabulary(MergeRule rule) {
  Vocabulary vocabulary;
  vocabulary.pre_name = "gpt-2";
  vocabulary.merging.rule = rule;
  for (int b = 0; b < 256; ++b) {
    vocabulary.bytes.emplace_back(1, static_cast<char>(b));
  }
  std::set<std::string> seen;
  const std::string& text = Prose();
  for (size_t begin = 0, word = 0; begin < text.size(); ++word) {
    const size_t end = std::min(text.find(' ', begin + 1), text.size());
    TokenId left = ' ';
    for (size_t i = begin + 1; i < end && word % 2 == 0; ++i) {
      const std::string piece = text.substr(begin, i + 1 - begin);
      if (seen.insert(piece).second) {
        vocabulary.bytes.push_back(piece);
        const auto id = static_cast<TokenId>(vocabulary.bytes.size()) - 1;
        vocabulary.merging.pairs.push_back({left, static_cast<unsigned char>(text[i]), id});
        left = id;
      }
    }
    begin = end;
  }
  vocabulary.kinds.assign(vocabulary.bytes.size(), TokenKind::kNormal);
  for (size_t i = 0; i < vocabulary.bytes.size(); ++i) {
    vocabulary.merging.ranks.push_back(static_cast<int32_t>(i));
  }
  return vocabulary;
}

void Run(benchmark::State& state, const Tokenizer& tokenizer) {
  const std::string& text = Prose();
  for (auto step : state) {
    benchmark::DoNotOptimize(tokenizer.Encode(text));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
}

void BM_EncodeByteLevel(benchmark::State& state) {
  const auto tokenizer = MakeByteLevelTokenizer(MakeVocabulary(MergeRule::kPairs));
  TW_CHECK(tokenizer.has_value());
  Run(state, **tokenizer);
}
BENCHMARK(BM_EncodeByteLevel);

void BM_EncodeTekken(benchmark::State& state) {
  Vocabulary vocabulary = MakeVocabulary(MergeRule::kJoined);
  vocabulary.pre_name = "tekken";
  vocabulary.merging.ignore_merges = true;
  const auto tokenizer = MakeByteLevelTokenizer(std::move(vocabulary));
  TW_CHECK(tokenizer.has_value());
  Run(state, **tokenizer);
}
BENCHMARK(BM_EncodeTekken);

void BM_EncodeSentencePiece(benchmark::State& state) {
  Run(state, *MakeSentencePieceTokenizer(MakeVocabulary(MergeRule::kJoined)));
}
BENCHMARK(BM_EncodeSentencePiece);

}  // namespace
}  // namespace tradewind::engine
