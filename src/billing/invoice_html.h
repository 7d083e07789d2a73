// An invoice as a page that can be printed: nothing outside of it is loaded, and every text of
// users is escaped.
#pragma once

#include <string>
#include <string_view>

#include "billing/invoice.h"

namespace tradewind::billing {

std::string InvoiceHtml(const InvoiceDraft& draft, const InvoiceSums& sums, std::string_view hash);

// & < > " ' as references; control characters but '\n' as spaces.
std::string EscapeHtml(std::string_view text);

}  // namespace tradewind::billing
