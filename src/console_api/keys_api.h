// /tw/v1/keys, /tw/v1/provider-keys and /tw/v1/orgs: docs/formats/keys.md.
#pragma once

#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "console_api/money_api.h"
#include "http/http.h"
#include "identity/principal.h"
#include "identity/store.h"

namespace tradewind::console_api {

// Whose key of which provider.
struct ProviderKeyPath {
  std::string provider;
  identity::ProviderKeyOwner owner;
};

// Thread-safe; calls wait for the disk. The store and the clock must outlive it.
class KeysApi {
 public:
  // Without a `money`, keys cannot have a budget.
  explicit KeysApi(identity::Store& store, MoneyApi* money = nullptr,
                   const Clock& clock = SystemClock())
      : store_(store), money_(money), clock_(clock) {}

  // Answers a request by its method, path (decoded) and body. `caller` has the scope manage; the
  // admin token reaches everything, others their organisation. Errors: kNotFound,
  // kMethodNotAllowed, and those of the store.
  Result<http::Response> Answer(const http::Request& request,
                                const identity::Principal& caller) const;

 private:
  Result<http::Response> AnswerKeys(const http::Request& request, std::string_view rest,
                                    const identity::Reach& reach) const;
  Result<http::Response> AnswerProviderKeys(const http::Request& request, std::string_view rest,
                                            const identity::Reach& reach) const;

  Result<std::string> CheckProvider(const ProviderKeyPath& path) const;
  Result<http::Response> CreateKey(const http::Request& request,
                                   const identity::Reach& reach) const;

  identity::Store& store_;
  MoneyApi* const money_;
  const Clock& clock_;
};

}  // namespace tradewind::console_api
