// tokenizer.ggml.* -> Vocabulary. Everything in a file is checked here or in CheckVocabulary.
#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "engine/tokenizer/pre_tokenizer.h"
#include "engine/tokenizer/sentencepiece_tokenizer.h"
#include "engine/tokenizer/token_tables.h"
#include "engine/tokenizer/vocabulary.h"

namespace tradewind::engine {
namespace {

std::string Key(std::string_view name) {
  return fmt::format("tokenizer.ggml.{}", name);
}

std::unexpected<Error> Corrupt(const GgufFile& file, std::string_view name, std::string_view what) {
  return Fail(ErrorCode::kCorruptFile, fmt::format("{}: {} {}", file.name(), Key(name), what),
              Key(name));
}

// Replaces `id` by the one under `name`, if that key is there.
Status ReadId(const GgufFile& file, std::string_view name, size_t size,
              std::optional<TokenId>& id) {
  if (!file.keys().contains(Key(name))) {
    return {};
  }
  const auto number = file.Integer(Key(name));
  if (!number.has_value()) {
    return Corrupt(file, name, "is not a whole number");
  }
  if (*number < 0 || static_cast<uint64_t>(*number) >= size) {
    return Corrupt(file, name, fmt::format("is {}, outside the vocabulary of {}", *number, size));
  }
  id = static_cast<TokenId>(*number);
  return {};
}

// An array of numbers with one entry per token; null when there is no such key.
Result<const GgufArray*> ReadNumbers(const GgufFile& file, std::string_view name, size_t size) {
  if (!file.keys().contains(Key(name))) {
    return nullptr;
  }
  const GgufArray* array = file.Array(Key(name));
  if (array == nullptr || !array->is_number()) {
    return Corrupt(file, name, "is not an array of numbers");
  }
  if (array->count != size) {
    return Corrupt(file, name, fmt::format("has {} entries for {} tokens", array->count, size));
  }
  return array;
}

Result<std::vector<std::string_view>> ReadStrings(const GgufFile& file, std::string_view name,
                                                  uint64_t count_max) {
  const GgufArray* array = file.Array(Key(name));
  if (array == nullptr || array->element_type != GgufType::kString) {
    return Corrupt(file, name, "is missing, or not an array of strings");
  }
  if (array->count > count_max) {
    return Corrupt(file, name,
                   fmt::format("has {} entries; the bound is {}", array->count, count_max));
  }
  return array->Strings();
}

Result<std::vector<TokenKind>> ReadKinds(const GgufFile& file, size_t size) {
  std::vector<TokenKind> kinds(size, TokenKind::kNormal);
  TW_ASSIGN_OR_RETURN(const GgufArray* types, ReadNumbers(file, "token_type", size));
  for (size_t i = 0; types != nullptr && i < size; ++i) {
    const double type = types->NumberAt(i);
    if (!(type >= 0 && type <= 6) || type != std::floor(type)) {
      return Corrupt(file, "token_type", fmt::format("has {} for token {}", type, i));
    }
    if (type != 0) {  // 0: undefined
      kinds[i] = static_cast<TokenKind>(static_cast<int>(type));
    }
  }
  return kinds;
}

// "<0x0A>" -> "\n"; anything else as it is.
std::string DecodeByteToken(std::string_view token) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  if (token.size() == 6 && token.starts_with("<0x") && token.ends_with('>')) {
    const int high = digit(token[3]);
    const int low = digit(token[4]);
    if (high >= 0 && low >= 0) {
      return std::string(1, static_cast<char>(high * 16 + low));
    }
  }
  return std::string(token);
}

std::string ReplaceSpaceMarks(std::string_view piece) {
  std::string text(piece);
  for (size_t at = text.find(kSpaceMark); at != std::string::npos; at = text.find(kSpaceMark, at)) {
    text.replace(at, kSpaceMark.size(), 1, ' ');
  }
  return text;
}

// Places in the order of falling scores; equal scores share one, so that the leftmost of them wins.
Status ReadScores(const GgufFile& file, Vocabulary& vocabulary) {
  const size_t size = vocabulary.bytes.size();
  TW_ASSIGN_OR_RETURN(const GgufArray* array, ReadNumbers(file, "scores", size));
  if (array == nullptr) {
    return Corrupt(file, "scores", "is missing");
  }
  std::vector<std::pair<double, size_t>> order(size);
  for (size_t i = 0; i < size; ++i) {
    const double score = array->NumberAt(i);
    if (std::isnan(score)) {
      return Corrupt(file, "scores", fmt::format("is not a number for token {}", i));
    }
    order[i] = {-score, i};
  }
  std::ranges::sort(order);
  vocabulary.merging.ranks.resize(size);
  int32_t rank = 0;
  for (size_t i = 0; i < size; ++i) {
    rank += i > 0 && order[i].first != order[i - 1].first ? 1 : 0;
    vocabulary.merging.ranks[order[i].second] = rank;
  }
  return {};
}

Status ReadSentencePiece(const GgufFile& file, std::span<const std::string_view> tokens,
                         Vocabulary& vocabulary) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    const TokenKind kind = vocabulary.kinds[i];
    vocabulary.bytes.push_back(kind == TokenKind::kByte     ? DecodeByteToken(tokens[i])
                               : kind == TokenKind::kNormal ? ReplaceSpaceMarks(tokens[i])
                                                            : std::string(tokens[i]));
    if (IsSpecialKind(kind) && (tokens[i] == "<s>" || tokens[i] == "</s>")) {
      (tokens[i] == "<s>" ? vocabulary.bos : vocabulary.eos) = static_cast<TokenId>(i);
    }
  }
  vocabulary.merging.rule = MergeRule::kJoined;
  TW_RETURN_IF_ERROR(ReadScores(file, vocabulary));
  vocabulary.add_space_prefix = file.Bool(Key("add_space_prefix")).value_or(true);
  vocabulary.add_bos = true;
  return {};
}

// Merges that name a token which is not there, or is no normal token, can never apply: left out.
Status ReadMerges(const GgufFile& file, Vocabulary& vocabulary) {
  TW_ASSIGN_OR_RETURN(const auto lines, ReadStrings(file, "merges", limits::kMergesMax));
  TextIndex normal(vocabulary.bytes, vocabulary.bytes.size());
  for (size_t i = 0; i < vocabulary.bytes.size(); ++i) {
    if (vocabulary.kinds[i] == TokenKind::kNormal && !vocabulary.bytes[i].empty()) {
      normal.Insert(static_cast<TokenId>(i));
    }
  }
  for (size_t i = 0; i < lines.size(); ++i) {
    const size_t space = lines[i].find(' ', 1);
    if (space == std::string_view::npos) {
      return Corrupt(file, "merges", fmt::format("has no pair in entry {}", i));
    }
    const auto left = DecodeByteLevel(lines[i].substr(0, space));
    const auto right = DecodeByteLevel(lines[i].substr(space + 1));
    if (!left.has_value() || !right.has_value()) {
      continue;
    }
    const Merge merge{normal.Find(*left), normal.Find(*right), normal.Find(*left + *right)};
    if (merge.left != kNoToken && merge.right != kNoToken && merge.result != kNoToken) {
      vocabulary.merging.pairs.push_back(merge);
    }
  }
  return {};
}

Status ReadByteLevel(const GgufFile& file, std::span<const std::string_view> tokens,
                     Vocabulary& vocabulary) {
  if (vocabulary.pre_name.empty()) {
    vocabulary.pre_name = "default";
  }
  TW_ASSIGN_OR_RETURN(const PreTokenizerRule rule, FindPreTokenizerRule(vocabulary.pre_name));
  for (size_t i = 0; i < tokens.size(); ++i) {
    TokenKind& kind = vocabulary.kinds[i];
    std::optional<std::string> bytes;
    if (kind == TokenKind::kNormal) {
      bytes = DecodeByteLevel(tokens[i]);
      kind = bytes.has_value() ? kind : TokenKind::kUnused;  // no text leads to it
    } else if (kind == TokenKind::kByte) {
      bytes = DecodeByteToken(tokens[i]);
    }
    vocabulary.bytes.push_back(std::move(bytes).value_or(std::string(tokens[i])));
  }
  vocabulary.merging.rule = MergeRule::kPairs;
  vocabulary.merging.ignore_merges = rule.ignore_merges;
  vocabulary.add_bos = rule.add_bos;
  return ReadMerges(file, vocabulary);
}

Status ReadMarkers(const GgufFile& file, Vocabulary& vocabulary) {
  const size_t size = vocabulary.bytes.size();
  TW_RETURN_IF_ERROR(ReadId(file, "bos_token_id", size, vocabulary.bos));
  TW_RETURN_IF_ERROR(ReadId(file, "eos_token_id", size, vocabulary.eos));
  TW_RETURN_IF_ERROR(ReadId(file, "eot_token_id", size, vocabulary.eot));
  TW_RETURN_IF_ERROR(ReadId(file, "eom_token_id", size, vocabulary.eom));
  TW_RETURN_IF_ERROR(ReadId(file, "unknown_token_id", size, vocabulary.merging.unknown));
  vocabulary.add_bos = file.Bool(Key("add_bos_token")).value_or(vocabulary.add_bos);
  vocabulary.add_eos = file.Bool(Key("add_eos_token")).value_or(false);
  return {};
}

}  // namespace

Result<Vocabulary> ReadGgufVocabulary(const GgufFile& file) {
  const auto model = file.String(Key("model"));
  if (!model.has_value()) {
    return Corrupt(file, "model", "is missing, or not a string");
  }
  if (*model != "gpt2" && *model != "llama") {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("{}: the tokenizer '{}' ({}) is not known; known are gpt2, llama",
                            file.name(), ReplaceInvalidUtf8(model->substr(0, 64)), Key("model")),
                Key("model"));
  }
  Vocabulary vocabulary;
  vocabulary.model_name = *model;
  vocabulary.pre_name = file.String(Key("pre")).value_or("");
  TW_ASSIGN_OR_RETURN(const auto tokens, ReadStrings(file, "tokens", limits::kVocabularyMax));
  if (tokens.empty()) {
    return Corrupt(file, "tokens", "is empty");
  }
  TW_ASSIGN_OR_RETURN(vocabulary.kinds, ReadKinds(file, tokens.size()));
  vocabulary.bytes.reserve(tokens.size());
  TW_RETURN_IF_ERROR(*model == "llama" ? ReadSentencePiece(file, tokens, vocabulary)
                                       : ReadByteLevel(file, tokens, vocabulary));
  TW_RETURN_IF_ERROR(ReadMarkers(file, vocabulary));
  TW_RETURN_IF_ERROR(CheckVocabulary(vocabulary));
  return vocabulary;
}

}  // namespace tradewind::engine
