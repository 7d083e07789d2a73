#include "console_api/bodies.h"

#include <utility>
#include <vector>

#include <fmt/format.h>

namespace tradewind::console_api {
namespace {

constexpr size_t kShownBytes = 80;  // of a name that came in

}  // namespace

Status CheckKnown(const dialects::Fields& fields, std::string_view of) {
  TW_RETURN_IF_ERROR(fields.status());
  if (const std::vector<std::string> unknown = fields.Unknown(); !unknown.empty()) {
    const std::string name = unknown.front().substr(0, kShownBytes);
    return Fail(ErrorCode::kInvalidArgument, fmt::format("`{}` is not a field of {}.", name, of),
                name);
  }
  return {};
}

http::Response JsonResponse(std::string json, int status) {
  http::Response response;
  response.status = status;
  response.headers.Set("Content-Type", "application/json");
  response.body = std::move(json);
  return response;
}

}  // namespace tradewind::console_api
