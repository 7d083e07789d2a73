#include "dialects/openai_errors.h"

#include <algorithm>
#include <string>

#include "dialects/json_writer.h"

namespace tradewind::dialects {
namespace {

constexpr std::string_view kRequest = "invalid_request_error";
constexpr std::string_view kServer = "server_error";

// A switch, so that the compiler says when a code is missing.
OpenAiError RowOf(ErrorCode code) {
  // clang-format off
  switch (code) {
    case ErrorCode::kInvalidArgument:      return {400, kRequest, "invalid_value"};
    case ErrorCode::kUnsupported:          return {400, kRequest, "unsupported_value"};
    case ErrorCode::kModelNotSupported:    return {400, kRequest, "model_not_supported"};
    case ErrorCode::kContextTooLong:       return {400, kRequest, "context_length_exceeded"};
    case ErrorCode::kTemplateFailed:       return {400, kRequest, "chat_template_error"};
    case ErrorCode::kUnauthenticated:      return {401, "authentication_error", "invalid_api_key"};
    case ErrorCode::kPaymentRequired:      return {402, "insufficient_quota", "insufficient_quota"};
    case ErrorCode::kPermissionDenied:     return {403, "permission_error", "permission_denied"};
    case ErrorCode::kNotFound:             return {404, kRequest, "not_found"};
    case ErrorCode::kMethodNotAllowed:     return {405, kRequest, "method_not_allowed"};
    case ErrorCode::kPayloadTooLarge:      return {413, kRequest, "payload_too_large"};
    case ErrorCode::kUnsupportedMediaType: return {415, kRequest, "unsupported_media_type"};
    case ErrorCode::kTooManyRequests:      return {429, "rate_limit_error", "rate_limit_exceeded"};
    case ErrorCode::kCancelled:            return {499, kServer, "cancelled"};
    case ErrorCode::kInternal:             return {500, kServer, "internal_error"};
    case ErrorCode::kIo:                   return {500, kServer, "io_error"};
    case ErrorCode::kCorruptFile:          return {500, kServer, "corrupt_model_file"};
    case ErrorCode::kAddressInUse:         return {500, kServer, "address_in_use"};
    case ErrorCode::kUpstreamFailed:       return {502, kServer, "upstream_error"};
    case ErrorCode::kUnavailable:          return {503, kServer, "service_unavailable"};
    case ErrorCode::kDeadlineExceeded:     return {504, kServer, "timeout"};
    case ErrorCode::kResourceExhausted:    return {507, kServer, "insufficient_resources"};
  }
  // clang-format on
  return {500, kServer, "internal_error"};
}

}  // namespace

OpenAiError OpenAiErrorOf(const Error& error) {
  OpenAiError row = RowOf(error.code);
  if (error.code == ErrorCode::kNotFound && error.param == "model") {
    row.code = "model_not_found";
  }
  return row;
}

std::optional<ErrorCode> ErrorCodeOfOpenAi(std::string_view code) {
  if (code == "model_not_found") {
    return ErrorCode::kNotFound;
  }
  for (int i = 0; i <= static_cast<int>(ErrorCode::kInternal); ++i) {  // the last one
    if (RowOf(static_cast<ErrorCode>(i)).code == code) {
      return static_cast<ErrorCode>(i);
    }
  }
  return std::nullopt;
}

std::string FormatOpenAiError(const Error& error) {
  const OpenAiError row = OpenAiErrorOf(error);
  JsonWriter json;
  json.BeginObject().Key("error").BeginObject();
  json.Field("message", error.message).Field("type", row.type).Key("param");
  if (error.param.empty()) {
    json.Null();
  } else {
    json.Value(error.param);
  }
  json.Field("code", row.code).EndObject().EndObject();
  return json.Take();
}

std::optional<std::string> RetryAfterSeconds(const Error& error) {
  if (!error.retry_after_ms.has_value()) {
    return std::nullopt;
  }
  const int64_t ms = std::clamp<int64_t>(*error.retry_after_ms, 1, 3'600'000);
  return std::to_string((ms + 999) / 1000);
}

}  // namespace tradewind::dialects
