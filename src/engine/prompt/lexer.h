// Template source -> tokens, as Jinja2 reads it with trim_blocks and lstrip_blocks on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tradewind::engine::prompt {

enum class TokenType : uint8_t {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,
  kError,  // the source is wrong from here on; `value` says how. An error only if the parser gets
           // this far.
};

struct Token {
  TokenType type = TokenType::kEnd;
  int line = 1;
  std::string value;  // text of data, strings, names; digits of numbers; the operator
};

// Never fails: a lexical error is a token. The last token is kEnd or kError. `source` must be valid
// UTF-8.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace tradewind::engine::prompt
