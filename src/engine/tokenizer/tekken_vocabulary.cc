// tekken.json -> Vocabulary. Source: mistral-common's tekken format.
#include <array>
#include <exception>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/limits.h"
#include "engine/tokenizer/pre_tokenizer.h"
#include "engine/tokenizer/vocabulary.h"

namespace tradewind::engine {
namespace {

namespace json = boost::json;

// Ids 0.. of files that do not list their special tokens.
constexpr std::string_view kDefaultSpecials[] = {"<unk>",
                                                 "<s>",
                                                 "</s>",
                                                 "[INST]",
                                                 "[/INST]",
                                                 "[AVAILABLE_TOOLS]",
                                                 "[/AVAILABLE_TOOLS]",
                                                 "[TOOL_RESULTS]",
                                                 "[/TOOL_RESULTS]",
                                                 "[TOOL_CALLS]",
                                                 "[IMG]",
                                                 "<pad>",
                                                 "[IMG_BREAK]",
                                                 "[IMG_END]",
                                                 "[PREFIX]",
                                                 "[MIDDLE]",
                                                 "[SUFFIX]",
                                                 "[SYSTEM_PROMPT]",
                                                 "[/SYSTEM_PROMPT]",
                                                 "[TOOL_CONTENT]"};

std::unexpected<Error> Corrupt(std::string_view where, std::string_view what) {
  return Fail(ErrorCode::kCorruptFile, fmt::format("tekken.json: {} {}", where, what),
              std::string(where));
}

const json::value* Member(const json::value& object, std::string_view name) {
  return object.is_object() ? object.get_object().if_contains(name) : nullptr;
}

std::optional<std::string_view> TextMember(const json::value& object, std::string_view name) {
  const json::value* value = Member(object, name);
  return value != nullptr && value->is_string()
             ? std::optional<std::string_view>(value->get_string())
             : std::nullopt;
}

std::optional<int64_t> IntegerMember(const json::value& object, std::string_view name) {
  const json::value* value = Member(object, name);
  return value != nullptr && value->is_int64() ? std::optional(value->get_int64()) : std::nullopt;
}

// RFC 4648 with padding; nullopt when it is not.
std::optional<std::string> DecodeBase64(std::string_view text) {
  if (text.size() % 4 != 0) {
    return std::nullopt;
  }
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::string bytes;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    uint32_t value = 0;
    if (c >= 'A' && c <= 'Z') {
      value = static_cast<uint32_t>(c - 'A');
    } else if (c >= 'a' && c <= 'z') {
      value = static_cast<uint32_t>(c - 'a' + 26);
    } else if (c >= '0' && c <= '9') {
      value = static_cast<uint32_t>(c - '0' + 52);
    } else if (c == '+' || c == '/') {
      value = c == '+' ? 62 : 63;
    } else if (c != '=' || i < text.size() - padding) {
      return std::nullopt;
    }
    bits = bits << 6 | value;
    if (i % 4 == 3) {
      bytes.push_back(static_cast<char>(bits >> 16));
      bytes.push_back(static_cast<char>(bits >> 8));
      bytes.push_back(static_cast<char>(bits));
      bits = 0;
    }
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

struct Config {
  size_t specials = 0;
  size_t ordinary = 0;
  std::string version;
};

Result<Config> ReadConfig(const json::value& root) {
  const json::value* object = Member(root, "config");
  if (object == nullptr) {
    return Corrupt("config", "is missing");
  }
  const auto pattern = TextMember(*object, "pattern");
  if (!pattern.has_value()) {
    return Corrupt("config.pattern", "is missing, or not a string");
  }
  if (*pattern !=
      TekkenPattern()) {  // a pattern from a file could make matching as slow as it likes
    return Fail(ErrorCode::kUnsupported, "tekken.json: config.pattern is not the pattern of Tekken",
                "config.pattern");
  }
  const auto size = IntegerMember(*object, "default_vocab_size");
  const auto specials = IntegerMember(*object, "default_num_special_tokens");
  if (!size.has_value() || *size < 1 || *size > limits::kVocabularyMax) {
    return Corrupt("config.default_vocab_size", "is missing or out of range");
  }
  if (!specials.has_value() || *specials < 3 || *specials > *size) {
    return Corrupt("config.default_num_special_tokens", "is missing or out of range");
  }
  Config config;
  config.specials = static_cast<size_t>(*specials);
  config.ordinary = static_cast<size_t>(*size - *specials);
  config.version = TextMember(*object, "version").value_or("");
  return config;
}

Status ReadSpecials(const json::value& root, size_t count, Vocabulary& vocabulary) {
  vocabulary.bytes.assign(count, "");
  vocabulary.kinds.assign(count, TokenKind::kControl);
  const json::value* list = Member(root, "special_tokens");
  if (list == nullptr || list->is_null()) {
    for (size_t i = 0; i < std::min(count, std::size(kDefaultSpecials)); ++i) {
      vocabulary.bytes[i] = kDefaultSpecials[i];
    }
  } else if (!list->is_array()) {
    return Corrupt("special_tokens", "is not an array");
  } else {
    for (const json::value& entry : list->get_array()) {
      const auto rank = IntegerMember(entry, "rank");
      const auto name = TextMember(entry, "token_str");
      if (!rank.has_value() || *rank < 0 || static_cast<size_t>(*rank) >= count) {
        return Corrupt("special_tokens.rank", "is missing or out of range");
      }
      if (!name.has_value() || name->empty()) {
        return Corrupt("special_tokens.token_str", "is missing or empty");
      }
      std::string& slot = vocabulary.bytes[static_cast<size_t>(*rank)];
      if (!slot.empty()) {
        return Corrupt("special_tokens.rank", fmt::format("{} is there twice", *rank));
      }
      slot = *name;
      const json::value* control = Member(entry, "is_control");
      if (control != nullptr && control->is_bool() && !control->get_bool()) {
        vocabulary.kinds[static_cast<size_t>(*rank)] = TokenKind::kUserDefined;
      }
    }
  }
  for (size_t i = 0; i < count; ++i) {
    if (vocabulary.bytes[i].empty()) {
      vocabulary.bytes[i] = fmt::format("<SPECIAL_{}>", i);
    }
  }
  return {};
}

// Entries stand in the order of their ranks; those past the vocabulary's size are not used.
Status ReadOrdinary(const json::value& root, size_t count, Vocabulary& vocabulary) {
  const json::value* list = Member(root, "vocab");
  if (list == nullptr || !list->is_array() || list->get_array().size() < count) {
    return Corrupt("vocab", fmt::format("is missing, or has fewer than {} entries", count));
  }
  if (count < 256) {
    return Corrupt("config.default_vocab_size", "leaves no room for the 256 bytes");
  }
  const json::array& entries = list->get_array();
  for (size_t rank = 0; rank < count; ++rank) {
    const std::string where = fmt::format("vocab[{}]", rank);
    if (IntegerMember(entries[rank], "rank") != static_cast<int64_t>(rank)) {
      return Corrupt(where, "has another rank than its place");
    }
    const auto text = TextMember(entries[rank], "token_bytes");
    auto bytes = text.has_value() ? DecodeBase64(*text) : std::nullopt;
    if (!bytes.has_value() || bytes->empty()) {
      return Corrupt(where, "has no token_bytes in base64");
    }
    if (rank < 256 && *bytes != std::string(1, static_cast<char>(rank))) {
      return Corrupt(where, "is not the byte of its rank");
    }
    vocabulary.bytes.push_back(*std::move(bytes));
    vocabulary.kinds.push_back(TokenKind::kNormal);
  }
  return {};
}

Result<Vocabulary> Read(const json::value& root) {
  TW_ASSIGN_OR_RETURN(Config config, ReadConfig(root));
  Vocabulary vocabulary;
  vocabulary.model_name = "tekken";
  vocabulary.pre_name = "tekken";
  vocabulary.version = std::move(config.version);
  TW_RETURN_IF_ERROR(ReadSpecials(root, config.specials, vocabulary));
  TW_RETURN_IF_ERROR(ReadOrdinary(root, config.ordinary, vocabulary));
  vocabulary.merging.rule = MergeRule::kJoined;
  vocabulary.merging.ignore_merges = true;
  vocabulary.merging.ranks.resize(vocabulary.bytes.size());
  for (size_t i = 0; i < vocabulary.bytes.size(); ++i) {
    vocabulary.merging.ranks[i] = static_cast<int32_t>(i);
  }
  for (TokenId id = 0; id < static_cast<TokenId>(config.specials); ++id) {
    if (vocabulary.bytes[id] == "<s>") {
      vocabulary.bos = id;
    } else if (vocabulary.bytes[id] == "</s>") {
      vocabulary.eos = id;
    } else if (vocabulary.bytes[id] == "<unk>") {
      vocabulary.merging.unknown = id;
    }
  }
  vocabulary.add_bos = true;
  TW_RETURN_IF_ERROR(CheckVocabulary(vocabulary));
  return vocabulary;
}

}  // namespace

Result<Vocabulary> ReadTekkenVocabulary(std::string_view text) {
  try {
    json::monotonic_resource memory;
    json::error_code error;
    json::parse_options options;
    options.max_depth = 32;
    const json::value root = json::parse(text, error, &memory, options);
    if (error) {
      return Corrupt("it", fmt::format("is not JSON: {}", error.message()));
    }
    return Read(root);
  } catch (const std::exception& e) {
    return Corrupt("it", fmt::format("cannot be read: {}", e.what()));
  }
}

}  // namespace tradewind::engine
