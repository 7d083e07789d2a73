// The reports of a whole account's usage and costs: what a provider would bill, day by day, in
// pages.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "provider_sim/behaviour.h"
#include "provider_sim/books.h"
#include "provider_sim/provider.h"

namespace provider_sim {

struct ReportAsk {
  Endpoint endpoint = Endpoint::kUsage;
  int64_t from_s = 0, to_s = 0;  // whole days
  int64_t page_s = 0;            // the first day of this page
  int64_t days = 7;              // of a page
};

// Nothing: it is no question that a provider would answer.
std::optional<ReportAsk> ReadReportAsk(Endpoint endpoint, std::string_view query,
                                       const Behaviour& how);

std::string ReportBody(const ReportAsk& ask, std::vector<DayUse> uses, const Behaviour& how);

}  // namespace provider_sim
