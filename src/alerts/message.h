// An alert as others get it: docs/operating/alerts.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "alerts/alert.h"

namespace tradewind::alerts {

// "2026-11-26T03:15:00Z".
std::string TimeText(int64_t unix_ns);

enum class Detail { kNone, kDeliveries };
// {"schema":"tradewind.alert/v1",...}: the body of a webhook; with what became of its deliveries and
// who of its organisation acknowledged it an entry of the API's list.
std::string JsonOf(const Alert& alert, Detail detail = Detail::kNone);

// The value of x-tradewind-signature: "v1=" and the HMAC-SHA256 of "TIMESTAMP.BODY" in hexadecimal
// digits. Source: RFC 2104.
std::string Sign(std::string_view secret, std::string_view timestamp, std::string_view body);

// A message with a subject, an empty line and a text, as sendmail reads it. No line comes from what
// others named but the ones meant for it: control characters become spaces.
std::string MailOf(const Alert& alert);

}  // namespace tradewind::alerts
