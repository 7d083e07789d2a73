// Who may call without a token: programs on this device, and no page in its browser.
#pragma once

#include "base/result.h"
#include "http/http.h"

namespace tradewind::gateway {

struct AdmissionPolicy {
  bool listener_is_loopback = true;  // nothing outside this device can connect
};

// A request without a token is admitted when the listener and the peer are loopback, Host is a
// loopback name (a name that DNS can be made to point here is not), no proxy forwarded it, Origin
// is absent or our own, and a body is JSON (a page can send other kinds across origins without
// asking first). Errors: kUnauthenticated, kPermissionDenied, kUnsupportedMediaType.
Status Admit(const http::Request& request, const AdmissionPolicy& policy);

// "localhost", 127.0.0.0/8, "[::1]", each with or without a port.
bool IsLoopbackHost(std::string_view host);

}  // namespace tradewind::gateway
