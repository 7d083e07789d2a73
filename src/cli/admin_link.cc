#include "cli/admin_link.h"

#include <string>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/limits.h"
#include "billing/usd.h"
#include "cli/alerts_config.h"
#include "cli/market.h"
#include "cli/server_link.h"
#include "console_api/alerts_api.h"
#include "console_api/money_api.h"
#include "http/client.h"

namespace tradewind::cli {
namespace {

namespace fs = std::filesystem;

// RFC 3986: unreserved characters and the slashes stay.
std::string Encode(std::string_view path) {
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
  std::string out;
  for (const char c : path) {
    if (kPlain.find(c) != kPlain.npos) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    }
  }
  return out;
}

// What one may not look into is opened all the same, and says so.
bool IsDataFolder(const fs::path& home) {
  std::error_code error;
  return fs::exists(home / "identity.db", error) || error || fs::exists(home / "journal", error) ||
         error;
}

// A budget in a folder that no server has would bind nobody.
std::unexpected<Error> NoDataFolder(const fs::path& home) {
  return IsLockHeld(home)
             ? Fail(ErrorCode::kAddressInUse, "a server is starting there")
             : Fail(ErrorCode::kNotFound,
                    fmt::format("there is no data folder at {}; name the server's with --home, or "
                                "begin with `tradewind serve` or `tradewind keys create`",
                                home.string()),
                    "home");
}

}  // namespace

console_api::Issuer IssuerOf(const Settings& settings) {
  return {{settings.Configured("billing.issuer").text,
           settings.Configured("billing.issuer_address").text,
           settings.Configured("billing.issuer_tax_id").text},
          settings.Configured("billing.tax_percent").text};
}

Result<ledger::NanoUsd> AdjustDaily(const Settings& settings) {
  const auto value = settings.Find(*FindFlag(*FindCommand("serve"), "adjust-daily-usd"));
  auto amount = billing::ParseUsd(value->text, "adjust_daily_usd");
  if (!amount.has_value()) {
    amount.error().message += fmt::format(" It is from {}", value->origin);
  }
  return amount;
}

identity::StoreOptions IdentityOptions(const fs::path& home, const Settings& settings) {
  return {.home = home, .secret_key_file = settings.Text("secret-key-file")};
}

Result<AdminLink> AdminLink::OpenHome(const fs::path& home, const Settings& settings) {
  AdminLink link;
  TW_ASSIGN_OR_RETURN(HomeLock lock, HomeLock::Take(home));
  link.lock_.emplace(std::move(lock));
  TW_RETURN_IF_ERROR(CheckWhole(home));
  TW_ASSIGN_OR_RETURN(link.store_, identity::Store::Open(IdentityOptions(home, settings)));
  TW_ASSIGN_OR_RETURN(const AlertsConfig alerts, LoadAlertsConfig(settings));
  link.watch_ =
      std::make_unique<alerts::Watch>(PolicyOf(alerts), console_api::OwnersIn(*link.store_));
  TW_ASSIGN_OR_RETURN(link.books_, billing::Books::Open(home, SystemClock(), link.watch_.get()));
  TW_ASSIGN_OR_RETURN(link.adjust_daily_, AdjustDaily(settings));
  link.home_ = home;
  link.issuer_ = IssuerOf(settings);
  // Models on this device cost nothing, and fall into no budget.
  link.catalog_ = [&settings, home]() -> Result<std::shared_ptr<const catalog::Catalog>> {
    TW_ASSIGN_OR_RETURN(Market market, LoadMarket(settings, home, nullptr));
    return std::move(market.catalog);
  };
  return link;
}

Result<AdminLink> AdminLink::Open(const Settings& settings, Home which) {
  TW_ASSIGN_OR_RETURN(auto named, NamedEndpoint(settings));
  TW_ASSIGN_OR_RETURN(const fs::path home, HomeFolder(settings));
  if (named && IsWhereServeWouldListen(*named, settings)) {
    named.reset();  // it has no server: the home is managed as without the variables
  }
  if (!named && which == Home::kMade) {
    TW_RETURN_IF_ERROR(EnsurePrivateFolder(home));
  }
  // Another verb may hold the lock for a moment, or a server may be starting.
  constexpr int kTries = 25;
  for (int i = 0;; ++i) {
    AdminLink link;
    link.server_ = named;
    if (const auto running = FindServer(home); !named && running) {
      Endpoint endpoint = EndpointOf(*running, settings);
      if (std::string token = AdminTokenOf(home); !token.empty()) {
        endpoint.token = std::move(token);  // TRADEWIND_TOKEN may be one that manages nothing
      }
      link.server_ = std::move(endpoint);
    }
    if (link.server_) {
      return link;
    }
    auto opened = which == Home::kMade || IsDataFolder(home)
                      ? OpenHome(home, settings)
                      : Result<AdminLink>(NoDataFolder(home));
    if (opened || opened.error().code != ErrorCode::kAddressInUse || i == kTries) {
      return opened;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

Result<std::string> AdminLink::Send(std::string_view method, std::string_view path,
                                    std::string_view body, std::string_view query) {
  if (server_) {
    std::string answer;
    const Taker take = [&answer](std::string_view bytes) -> Status {
      if (answer.size() + bytes.size() > static_cast<size_t>(limits::kClientBodyBytesMax)) {
        return Fail(ErrorCode::kPayloadTooLarge,
                    fmt::format("the answer is larger than {} bytes", limits::kClientBodyBytesMax));
      }
      answer += bytes;
      return {};
    };
    TW_RETURN_IF_ERROR(SendToServer(method, path, body, query, take));
    return answer;
  }
  TW_ASSIGN_OR_RETURN(http::Response response, AnswerHere(method, path, body, query));
  return http::WholeBody(std::move(response));
}

Status AdminLink::Receive(std::string_view path, std::string_view query, const Taker& take) {
  if (server_) {
    return SendToServer("GET", path, "", query, take);
  }
  TW_ASSIGN_OR_RETURN(http::Response response, AnswerHere("GET", path, "", query));
  TW_RETURN_IF_ERROR(take(response.body));
  while (response.more) {
    TW_ASSIGN_OR_RETURN(const std::string piece, response.more());
    if (piece.empty()) {
      break;
    }
    TW_RETURN_IF_ERROR(take(piece));
  }
  return {};
}

Result<http::Response> AdminLink::AnswerHere(std::string_view method, std::string_view path,
                                             std::string_view body, std::string_view query) {
  http::Request request;
  request.method = method;
  request.path = path;
  request.query = query;
  request.body = body;
  identity::Principal operator_himself;  // whoever may write the folder
  operator_himself.is_admin_token = true;
  if (console_api::AlertsApi::Has(path)) {
    console_api::AlertsApi alerts(books_->ledger(), books_->recorder(), *store_);
    return alerts.Answer(request, operator_himself);
  }
  console_api::MoneyApi money(books_->ledger(), books_->recorder(), *store_, adjust_daily_);
  money.NamesFrom(catalog_);
  console_api::BillApi bill(*books_, *store_, home_, issuer_);
  return console_api::BillApi::Has(path) ? bill.Answer(request, operator_himself)
         : console_api::MoneyApi::Has(path)
             ? money.Answer(request, operator_himself)
             : console_api::KeysApi(*store_, &money).Answer(request, operator_himself);
}

Status AdminLink::SendToServer(std::string_view method, std::string_view path,
                               std::string_view body, std::string_view query, const Taker& take) {
  constexpr int64_t kTimeoutMs = 30'000;  // a commit on a busy disk
  http::ClientRequest request;
  request.host = server_->host;
  request.port = server_->port;
  request.method = method;
  request.target = Encode(path);
  if (!query.empty()) {
    request.target.append("?").append(query);
  }
  request.body = body;
  request.idle_timeout_ms = kTimeoutMs;
  if (!body.empty()) {
    request.headers.Set("Content-Type", "application/json");
  }
  if (!server_->token.empty()) {
    request.headers.Set("Authorization", "Bearer " + server_->token);
  }
  int status = 0;
  std::string refusal;
  Status taken;
  const auto on_bytes = [&](std::string_view bytes) {
    if (status >= 400) {
      constexpr size_t kRefusalBytesMax = 1 << 20;
      refusal += bytes.substr(0, kRefusalBytesMax - refusal.size());
      return true;
    }
    taken = take(bytes);
    return taken.has_value();
  };
  const auto on_head = [&status](const http::Response& head) { status = head.status; };
  TW_ASSIGN_OR_RETURN(const http::Response response, http::FetchStream(request, on_bytes, on_head));
  TW_RETURN_IF_ERROR(taken);
  if (response.status == 401) {
    return Fail(ErrorCode::kUnauthenticated,
                fmt::format("{} does not take this token; set TRADEWIND_TOKEN to one with the "
                            "scope manage, or name the server's data folder with --home, as the "
                            "user who started it",
                            server_->Url()));
  }
  if (response.status >= 400) {
    return Fail(ErrorFromReply(response.status, refusal));
  }
  return {};
}

}  // namespace tradewind::cli
