// The way to what an operator manages: through the server that holds the data folder, or, when none
// runs, in the folder itself.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "alerts/watch.h"
#include "base/result.h"
#include "billing/adjust.h"
#include "billing/books.h"
#include "cli/chat_client.h"
#include "cli/home.h"
#include "cli/settings.h"
#include "console_api/bill_api.h"
#include "console_api/catalog_names.h"
#include "console_api/keys_api.h"
#include "http/http.h"
#include "identity/store.h"

namespace tradewind::cli {

class AdminLink {
 public:
  // Whether a data folder that is not there is made: by what an operator begins with.
  enum class Home { kExisting, kMade };

  // The server of --host/--port (see NamedEndpoint, IsWhereServeWouldListen), else that of the home
  // (with its admin token), else the home, whose lock is held while this lives. Errors:
  // kAddressInUse, kNotFound (param home), and those of identity::Store::Open.
  static Result<AdminLink> Open(const Settings& settings, Home which = Home::kExisting);

  // The body of the answer. `path` is not percent-encoded, `query` is. Errors: the answer's own,
  // http::Fetch's.
  Result<std::string> Send(std::string_view method, std::string_view path,
                           std::string_view body = {}, std::string_view query = {});

  // The same of a GET, as it arrives, however long. Errors besides: those of `take`, which end it.
  using Taker = std::function<Status(std::string_view)>;
  Status Receive(std::string_view path, std::string_view query, const Taker& take);

 private:
  AdminLink() = default;
  static Result<AdminLink> OpenHome(const std::filesystem::path& home, const Settings& settings);
  Result<http::Response> AnswerHere(std::string_view method, std::string_view path,
                                    std::string_view body, std::string_view query);
  Status SendToServer(std::string_view method, std::string_view path, std::string_view body,
                      std::string_view query, const Taker& take);

  std::optional<Endpoint> server_;
  std::optional<HomeLock> lock_;
  std::unique_ptr<identity::Store> store_;
  std::unique_ptr<alerts::Watch> watch_;  // sees what this process is the first to record
  std::unique_ptr<billing::Books> books_;
  std::filesystem::path home_;
  console_api::CatalogNow catalog_;  // reads the settings that this was opened with
  console_api::Issuer issuer_;
  ledger::NanoUsd adjust_daily_ = billing::kAdjustDailyDefault;
};

// Who bills, as the config files say it.
console_api::Issuer IssuerOf(const Settings& settings);

// By so much may be corrected in a day, as the settings of `serve` have it. Errors:
// kInvalidArgument naming the place.
Result<ledger::NanoUsd> AdjustDaily(const Settings& settings);

// Options of the store from --home and --secret-key-file.
identity::StoreOptions IdentityOptions(const std::filesystem::path& home, const Settings& settings);

}  // namespace tradewind::cli
