// `route explain`: the ranker's result as people and scripts read it.
//
//   PLACE   STATUS  IN/OUT $/M   TTFT    TOK/S  CTX   QUANT  TOOLS  DECISION
//   prov-a  live    0.10/0.10    0.41 s  142    128k  fp8    yes    CHOSEN: cheapest ...
//   local   ready   energy 0/26  6.8 s   9.8    8k    q4     yes    2nd
//   prov-b  live    0.04/0.04    0.62 s  88     128k  ?      no     excluded: no support for tools
//   prov-c  open    -            -       -      -     -      ?      last resort (3rd): ...
#pragma once

#include <span>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "routing/rank.h"

namespace tradewind::routing {

enum class DecisionKind { kChosen, kNext, kLastResort, kExcluded };

struct ExplainRow {
  std::string place;     // provider; with the model too when there are several
  std::string status;    // ready (this device), live, staging, error, open, trial, paused, key
  std::string prices;    // "0.10/0.30", "free", "energy 0.00/0.26", "-" when unpriced
  std::string ttft;      // "0.41 s", "-"
  std::string speed;     // "142", "-"
  std::string context;   // "128k", "-"
  std::string quant;     // "?" when unknown
  std::string tools;     // yes, no, ?
  std::string decision;  // "CHOSEN: cheapest for this request"
  DecisionKind kind = DecisionKind::kExcluded;
};

// Candidates in their order, then what is left out.
std::vector<ExplainRow> ExplainRows(std::span<const RouteFacts> facts, const RouteNeeds& needs,
                                    const Ranking& ranking);

// The rows as a table with a heading, columns two spaces apart; every line ends with a newline.
std::string ExplainText(std::span<const ExplainRow> rows);

// {"schema":"tradewind.route_explain/v1","model":...,"policy":...,"chosen":{...}|null,"routes":[...]}.
// Prices are decimal strings, durations *_ms; what is not known is null.
boost::json::object ExplainJson(std::string_view model, std::span<const RouteFacts> facts,
                                const RouteNeeds& needs, const Ranking& ranking);

// One sentence for 400 model_not_supported: which providers were considered and why each cannot
// serve: "prov-a: no support for tools; prov-b: no key for it: ...". Empty when there is no route
// at all. At most `reasons_max` of them, and how many more.
std::string WhyNoCandidate(std::span<const RouteFacts> facts, const Ranking& ranking,
                           size_t reasons_max = 8);

}  // namespace tradewind::routing
