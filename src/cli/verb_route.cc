// route explain: which route a model string takes, and why not the others.
#include <algorithm>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/clock.h"
#include "base/ids.h"
#include "cli/market.h"
#include "cli/server_link.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "http/query.h"
#include "routing/market.h"
#include "routing/question.h"

namespace tradewind::cli {
namespace {

// "org/name@cheapest" as requests write it.
std::string OnTheWire(std::string reference) {
  const size_t at = reference.rfind('@');
  if (at != std::string::npos) {
    reference[at] = ':';
  }
  return reference;
}

Result<std::string> AskServer(const Endpoint& endpoint, const routing::Question& question,
                              bool as_json) {
  std::string target = "/tw/v1/route?model=" + http::EncodeQuery(question.model);
  const auto add = [&target](std::string_view name, const std::string& value) {
    if (!value.empty()) {
      target += fmt::format("&{}={}", name, http::EncodeQuery(value));
    }
  };
  add("need", question.need);
  add("max_price", question.max_price);
  add("task", question.task);
  add("format", as_json ? "" : "text");
  TW_ASSIGN_OR_RETURN(Reply reply, Get(endpoint, std::move(target)));
  return std::move(reply.body);
}

// Nothing has been measured here: prices, capabilities and keys alone.
Result<std::string> FindOut(const Settings& settings, const routing::Question& question,
                            bool as_json) {
  TW_ASSIGN_OR_RETURN(const Market market, OpenMarket(settings));
  const auto built = BuildRoutes(market, settings.market().route);
  routing::HealthBook nothing_known(SystemClock(), SystemRandom());
  TW_ASSIGN_OR_RETURN(const routing::PlanRequest request, routing::ReadQuestion(question));
  TW_ASSIGN_OR_RETURN(const routing::Explained explained,
                      routing::Explain(built, nothing_known, request));
  return as_json ? boost::json::serialize(explained.json) : explained.text;
}

// The table may come from elsewhere: its lines, and nothing that a terminal would obey.
void PrintLines(std::string_view text) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    Print(WithoutControls(text.substr(0, end)) + "\n");
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace

Result<ExitCode> RunRoute(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(const bool as_json, settings.Switch("json"));
  const routing::Question question = {.model = OnTheWire(settings.Words(1).front()),
                                      .need = settings.Text("need"),
                                      .max_price = settings.Text("max-price"),
                                      .task = settings.Text("task")};
  TW_ASSIGN_OR_RETURN(const auto endpoint, FindEndpoint(settings));
  if (!endpoint) {
    fmt::print(stderr, "no server runs: nothing is known of how the routes are doing\n");
  }
  TW_ASSIGN_OR_RETURN(const std::string text, endpoint ? AskServer(*endpoint, question, as_json)
                                                       : FindOut(settings, question, as_json));
  PrintLines(text);
  return ExitCode::kDone;
}

}  // namespace tradewind::cli
