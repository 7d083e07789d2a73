#include "gateway/admission.h"

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace tradewind::gateway {
namespace {

http::Request Request(const std::string& method,
                      const std::vector<std::pair<std::string, std::string>>& headers) {
  http::Request request;
  request.method = method;
  request.peer_is_loopback = true;
  request.headers.Set("Host", "127.0.0.1:8737");
  request.headers.Set("Content-Type", "application/json");
  for (const auto& [name, value] : headers) {
    request.headers.Set(name, value);
  }
  return request;
}

TEST(IsLoopbackHost, KnowsTheNamesOfThisDevice) {
  for (const char* host : {"localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8737", "127.1.2.3:9",
                           "[::1]", "[::1]:8737"}) {
    EXPECT_TRUE(IsLoopbackHost(host)) << host;
  }
  for (const char* host : {"", ":80", "localhost.", "localhost.evil.example", "evil.example",
                           "127.evil.example", "127.0.0.1.evil.example", "127.0.0", "127.0.0.256",
                           "128.0.0.1", "0.0.0.0", "[::2]", "::1", "localhost:80:90", "127.0.0.1:x",
                           "127.0.0.1@evil.example", "0177.0.0.1", "127..0.1", "127.0.0.1."}) {
    EXPECT_FALSE(IsLoopbackHost(host)) << host;
  }
}

TEST(Admit, TakesProgramsOfThisDevice) {
  EXPECT_TRUE(Admit(Request("POST", {}), {}).has_value());
  EXPECT_TRUE(Admit(Request("POST", {{"Content-Type", "Application/JSON; charset=utf-8"}}), {})
                  .has_value());
  EXPECT_TRUE(Admit(Request("POST", {{"Content-Type", "application/vnd.x+json"}}), {}).has_value());
  EXPECT_TRUE(Admit(Request("GET", {{"Content-Type", ""}}), {}).has_value());
  EXPECT_TRUE(Admit(Request("POST", {{"Origin", "http://127.0.0.1:8737"}}), {}).has_value());
  EXPECT_TRUE(
      Admit(Request("POST", {{"Host", "LocalHost:8737"}, {"Origin", "http://localhost:8737"}}), {})
          .has_value());
}

TEST(Admit, RefusesEveryoneElse) {
  const std::pair<std::pair<std::string, std::string>, ErrorCode> table[] = {
      {{"Host", "evil.example"}, ErrorCode::kPermissionDenied},  // DNS rebinding
      {{"Forwarded", "for=1.2.3.4"}, ErrorCode::kPermissionDenied},
      {{"X-Forwarded-For", "1.2.3.4"}, ErrorCode::kPermissionDenied},
      {{"x-forwarded-host", "a"}, ErrorCode::kPermissionDenied},
      {{"X-Real-IP", "1.2.3.4"}, ErrorCode::kPermissionDenied},
      {{"Origin", "http://evil.example"}, ErrorCode::kPermissionDenied},
      {{"Origin", "null"}, ErrorCode::kPermissionDenied},
      {{"Origin", "https://127.0.0.1:8737"}, ErrorCode::kPermissionDenied},
      {{"Origin", "http://127.0.0.1:3000"}, ErrorCode::kPermissionDenied},
      {{"Content-Type", "text/plain"}, ErrorCode::kUnsupportedMediaType},
      {{"Content-Type", "application/x-www-form-urlencoded"}, ErrorCode::kUnsupportedMediaType},
      {{"Content-Type", ""}, ErrorCode::kUnsupportedMediaType},
      {{"Content-Type", "text/plain; application/json"}, ErrorCode::kUnsupportedMediaType},
  };
  for (const auto& [header, code] : table) {
    const Status admitted = Admit(Request("POST", {header}), {});
    ASSERT_FALSE(admitted.has_value()) << header.first << ": " << header.second;
    EXPECT_EQ(admitted.error().code, code) << header.first << ": " << header.second;
  }
}

TEST(Admit, RefusesWhatComesFromOutside) {
  http::Request request = Request("GET", {});
  EXPECT_EQ(Admit(request, {.listener_is_loopback = false}).error().code,
            ErrorCode::kUnauthenticated);
  request.peer_is_loopback = false;
  EXPECT_EQ(Admit(request, {}).error().code, ErrorCode::kUnauthenticated);
}

TEST(Admit, NeedsAHost) {
  http::Request request;
  request.method = "GET";
  request.peer_is_loopback = true;
  EXPECT_EQ(Admit(request, {}).error().code, ErrorCode::kPermissionDenied);
}

}  // namespace
}  // namespace tradewind::gateway
