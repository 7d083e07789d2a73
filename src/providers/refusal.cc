// What error statuses of providers mean. Sources: OpenAI's error codes, which most repeat; the
// providers' documentation; vLLM, llama-server and Ollama for messages without a code.
#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "base/text.h"
#include "providers/quirks.h"

namespace tradewind::providers {
namespace {

bool IsOneOf(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, text) != words.end();
}

bool HasOneOf(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::ranges::any_of(words, [&](std::string_view word) { return text.contains(word); });
}

bool IsAboutTheKey(const std::string& code) {
  return IsOneOf(code, {"invalid_api_key", "wrong_api_key", "api_key_invalid", "expired_api_key",
                        "api_key_expired", "api_key_disabled", "invalid_authentication",
                        "authentication_error", "invalid_token", "unauthorized",
                        "account_deactivated", "account_suspended", "account_disabled"});
}

bool IsAboutFunds(const std::string& code) {
  return IsOneOf(code, {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active",
                        "payment_required", "payment_required_error", "credit_limit",
                        "insufficient_credits", "insufficient_balance"});
}

// Longer than this route's context, or a field that this route does not take.
bool IsAboutThisRoute(const std::string& code, std::string_view message) {
  return IsOneOf(code,
                 {"context_length_exceeded", "string_above_max_length", "unsupported_parameter",
                  "unsupported_value", "unknown_parameter", "not_supported"}) ||
         HasOneOf(message, {"context length", "context window", "context size", "maximum context",
                            "prompt is too long", "input is too long", "too many tokens",
                            "not supported", "unsupported", "does not support", "not permitted",
                            "unrecognized request argument", "unknown field"});
}

}  // namespace

int StatusOf(const dialects::WireError& error) {
  if (error.code.size() == 3 && error.code >= "400" && error.code <= "599" &&
      error.code.find_first_not_of("0123456789") == std::string::npos) {
    return std::stoi(error.code);
  }
  const std::string message = AsciiLower(error.message);
  for (const std::string& word : {AsciiLower(error.code), AsciiLower(error.type)}) {
    if (IsAboutFunds(word)) {
      return 402;
    }
    if (word.starts_with("rate_limit") || word == "too_many_requests") {
      return 429;
    }
  }
  // A message may repeat what the caller wrote: what it says counts beside the provider's code for
  // it alone, or where it begins so.
  if (error.code == "1008" && message.contains("insufficient balance")) {
    return 402;  // MiniMax
  }
  if ((error.code == "1002" && message.contains("rate limit")) ||           // MiniMax
      (error.code == "18" && message.contains("request limit reached"))) {  // Baidu
    return 429;
  }
  return message.starts_with("rate limit") || message.starts_with("too many requests") ? 429 : 0;
}

Refusal RefusalOf(const Quirks& quirks, int status, const dialects::WireError& error) {
  if (quirks.classify != nullptr) {
    if (const Refusal own = quirks.classify(status, error); own != Refusal::kByStatus) {
      return own;
    }
  }
  // Some repeat the status as the code: their word is the type.
  const bool is_word = error.code.find_first_not_of("0123456789") != std::string::npos;
  const std::string code = AsciiLower(is_word ? error.code : error.type);
  switch (status) {
    case 400:
    case 422:
    case 501:
      return IsAboutThisRoute(code, AsciiLower(error.message)) ? Refusal::kNotHere
                                                               : Refusal::kByStatus;
    case 403:  // also moderation, a gated model, a model that the account may not use
      return IsAboutTheKey(code)  ? Refusal::kKey
             : IsAboutFunds(code) ? Refusal::kNoFunds
                                  : Refusal::kNotHere;
    case 413:
      return Refusal::kNotHere;
    case 429:  // no limit that passes by itself
      return IsAboutFunds(code) ? Refusal::kNoFunds : Refusal::kByStatus;
    default:
      return Refusal::kByStatus;
  }
}

}  // namespace tradewind::providers
