#include "engine/tokenizer/word_encoder.h"

#include <utility>

#include "base/limits.h"
#include "base/utf8.h"

namespace tradewind::engine {
namespace {

uint64_t PairKey(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

WordEncoder::WordEncoder(Start start, Merging merging, const std::vector<TokenKind>& kinds,
                         const std::vector<std::string>& bytes)
    : start_(start),
      rule_(merging.rule),
      ignore_merges_(merging.ignore_merges),
      unknown_(merging.unknown.value_or(kNoToken)),
      normal_(bytes, bytes.size()),
      merges_(merging.pairs.size()),
      ranks_(std::move(merging.ranks)),
      whole_(std::make_unique<std::atomic<uint8_t>[]>(bytes.size())) {
  byte_tokens_.fill(kNoToken);
  byte_normals_.fill(kNoToken);
  for (size_t i = 0; i < bytes.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    if (kinds[i] == TokenKind::kNormal && !bytes[i].empty()) {
      normal_.Insert(id);
    } else if (kinds[i] == TokenKind::kByte && bytes[i].size() == 1) {
      TokenId& token = byte_tokens_[static_cast<unsigned char>(bytes[i][0])];
      token = token == kNoToken ? id : token;
    }
  }
  for (int b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    byte_normals_[b] = normal_.Find({&byte, 1});
    if (byte_tokens_[b] == kNoToken) {
      byte_tokens_[b] = byte_normals_[b];
    }
  }
  for (size_t rank = 0; rank < merging.pairs.size(); ++rank) {
    const Merge& merge = merging.pairs[rank];
    merges_.Insert(PairKey(merge.left, merge.right),
                   uint64_t{rank} << 32 | static_cast<uint32_t>(merge.result));
  }
}

void WordEncoder::Encode(std::string_view word, MergeScratch& scratch,
                         std::vector<TokenId>& ids) const {
  while (word.size() > limits::kWordBytesMax) {
    const size_t part = CompleteUtf8Prefix(word.substr(0, limits::kWordBytesMax));
    EncodeByMerging(word.substr(0, part), scratch, ids);
    word.remove_prefix(part);
  }
  const TokenId whole = normal_.Find(word);
  if (whole == kNoToken) {
    EncodeByMerging(word, scratch, ids);
    return;
  }
  std::atomic<uint8_t>& memo = whole_[static_cast<size_t>(whole)];
  if (ignore_merges_ || memo.load(std::memory_order_relaxed) == kYes) {
    ids.push_back(whole);
    return;
  }
  const size_t before = ids.size();
  EncodeByMerging(word, scratch, ids);
  const bool one = ids.size() == before + 1 && ids.back() == whole;
  memo.store(one ? kYes : kNo, std::memory_order_relaxed);
}

void WordEncoder::EncodeByMerging(std::string_view word, MergeScratch& scratch,
                                  std::vector<TokenId>& ids) const {
  auto& symbols = scratch.symbols;
  symbols.clear();
  for (uint32_t at = 0; at < word.size();) {
    uint32_t size = 1;
    if (start_ == Start::kCharacters) {
      size = static_cast<uint32_t>(DecodeUtf8(word.substr(at)).bytes);
    }
    const TokenId id = size == 1 ? byte_normals_[static_cast<unsigned char>(word[at])]
                                 : normal_.Find(word.substr(at, size));
    symbols.push_back({at, size, id});
    at += size;
  }
  if (rule_ == MergeRule::kPairs) {
    MergeSymbols(scratch, [&](const Symbol& left, const Symbol& right) -> PairMerge {
      if (left.id == kNoToken || right.id == kNoToken) {
        return {kNeverMerges, kNoToken};
      }
      const uint64_t found = merges_.Find(PairKey(left.id, right.id));
      if (found == WordMap::kAbsent) {
        return {kNeverMerges, kNoToken};
      }
      return {static_cast<int32_t>(found >> 32), static_cast<TokenId>(found & 0xFFFFFFFF)};
    });
  } else {
    MergeSymbols(scratch, [&](const Symbol& left, const Symbol& right) -> PairMerge {
      const TokenId id = normal_.Find(word.substr(left.begin, left.size + right.size));
      return {id == kNoToken ? kNeverMerges : ranks_[static_cast<size_t>(id)], id};
    });
  }
  for (const Symbol& symbol : symbols) {
    AppendSymbol(word.substr(symbol.begin, symbol.size), symbol.id, ids);
  }
}

void WordEncoder::AppendSymbol(std::string_view bytes, TokenId id,
                               std::vector<TokenId>& ids) const {
  if (id != kNoToken) {
    ids.push_back(id);
    return;
  }
  for (const char byte : bytes) {
    TokenId token = byte_tokens_[static_cast<unsigned char>(byte)];
    token = token == kNoToken ? unknown_ : token;
    if (token != kNoToken) {
      ids.push_back(token);
    }
  }
}

}  // namespace tradewind::engine
