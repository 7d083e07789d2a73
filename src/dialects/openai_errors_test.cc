#include "dialects/openai_errors.h"

#include <gtest/gtest.h>

#include "dialects/openai_models.h"

namespace tradewind::dialects {
namespace {

struct Row {
  ErrorCode code;
  int status;
  const char* type;
  const char* wire_code;
};

TEST(OpenAiErrors, HaveOneRowPerCode) {
  const Row rows[] = {
      {ErrorCode::kInvalidArgument, 400, "invalid_request_error", "invalid_value"},
      {ErrorCode::kUnsupported, 400, "invalid_request_error", "unsupported_value"},
      {ErrorCode::kModelNotSupported, 400, "invalid_request_error", "model_not_supported"},
      {ErrorCode::kContextTooLong, 400, "invalid_request_error", "context_length_exceeded"},
      {ErrorCode::kTemplateFailed, 400, "invalid_request_error", "chat_template_error"},
      {ErrorCode::kUnauthenticated, 401, "authentication_error", "invalid_api_key"},
      {ErrorCode::kPermissionDenied, 403, "permission_error", "permission_denied"},
      {ErrorCode::kNotFound, 404, "invalid_request_error", "not_found"},
      {ErrorCode::kMethodNotAllowed, 405, "invalid_request_error", "method_not_allowed"},
      {ErrorCode::kPayloadTooLarge, 413, "invalid_request_error", "payload_too_large"},
      {ErrorCode::kUnsupportedMediaType, 415, "invalid_request_error", "unsupported_media_type"},
      {ErrorCode::kTooManyRequests, 429, "rate_limit_error", "rate_limit_exceeded"},
      {ErrorCode::kCancelled, 499, "server_error", "cancelled"},
      {ErrorCode::kInternal, 500, "server_error", "internal_error"},
      {ErrorCode::kIo, 500, "server_error", "io_error"},
      {ErrorCode::kCorruptFile, 500, "server_error", "corrupt_model_file"},
      {ErrorCode::kAddressInUse, 500, "server_error", "address_in_use"},
      {ErrorCode::kUpstreamFailed, 502, "server_error", "upstream_error"},
      {ErrorCode::kUnavailable, 503, "server_error", "service_unavailable"},
      {ErrorCode::kDeadlineExceeded, 504, "server_error", "timeout"},
      {ErrorCode::kResourceExhausted, 507, "server_error", "insufficient_resources"},
  };
  for (const Row& row : rows) {
    const OpenAiError wire = OpenAiErrorOf({row.code, "x"});
    EXPECT_EQ(wire.status, row.status) << row.wire_code;
    EXPECT_EQ(wire.type, row.type);
    EXPECT_EQ(wire.code, row.wire_code);
    EXPECT_EQ(ErrorCodeOfOpenAi(row.wire_code), row.code);
  }
}

TEST(OpenAiErrors, NameAnUnknownModelAsOpenAiDoes) {
  EXPECT_EQ(OpenAiErrorOf({ErrorCode::kNotFound, "x", "model"}).code, "model_not_found");
  EXPECT_EQ(ErrorCodeOfOpenAi("model_not_found"), ErrorCode::kNotFound);
  EXPECT_EQ(ErrorCodeOfOpenAi("out_of_cheese"), std::nullopt);
  EXPECT_EQ(ErrorCodeOfOpenAi(""), std::nullopt);
}

TEST(OpenAiErrors, AreOneObjectWithNullWhereThereIsNoParam) {
  EXPECT_EQ(FormatOpenAiError({ErrorCode::kTooManyRequests, "The \"queue\" is full."}),
            R"({"error":{"message":"The \"queue\" is full.","type":"rate_limit_error",)"
            R"("param":null,"code":"rate_limit_exceeded"}})");
  EXPECT_EQ(
      FormatOpenAiError({ErrorCode::kInvalidArgument, "no", "n"}),
      R"({"error":{"message":"no","type":"invalid_request_error","param":"n","code":"invalid_value"}})");
}

TEST(OpenAiErrors, SayWhenToComeBackInWholeSeconds) {
  EXPECT_FALSE(RetryAfterSeconds({ErrorCode::kUnavailable, "x"}).has_value());
  for (const auto& [ms, seconds] : {std::pair<int64_t, const char*>{-5, "1"},
                                    {0, "1"},
                                    {1000, "1"},
                                    {1001, "2"},
                                    {INT64_MAX, "3600"}}) {
    EXPECT_EQ(RetryAfterSeconds({ErrorCode::kUnavailable, "x", "", ms}), seconds);
  }
}

TEST(OpenAiModels, ListWhatClientsNeed) {
  const ModelEntry entry{"org/m", 1700000000, "org", 123, 0, false};
  EXPECT_EQ(FormatModelList(std::span(&entry, 1)),
            R"({"object":"list","data":[{"id":"org/m","object":"model","created":1700000000,)"
            R"("owned_by":"org","max_model_len":null,"providers":[{"provider":"local",)"
            R"("status":"not_loaded","bytes":123}]}]})");
  EXPECT_EQ(FormatModelList({}), R"({"object":"list","data":[]})");
}

}  // namespace
}  // namespace tradewind::dialects
