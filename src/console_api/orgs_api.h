// /tw/v1/orgs: docs/formats/keys.md.
#pragma once

#include <string_view>

#include "base/result.h"
#include "http/http.h"
#include "identity/store.h"

namespace tradewind::console_api {

// `rest` is the path behind /tw/v1/orgs. Errors: kNotFound, kMethodNotAllowed, kInvalidArgument,
// and those of the store.
Result<http::Response> AnswerOrgs(identity::Store& store, const http::Request& request,
                                  std::string_view rest, const identity::Reach& reach);

}  // namespace tradewind::console_api
