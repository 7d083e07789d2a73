// Who may call: holders of a token, and, while no key was ever created, programs on this device.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "http/http.h"
#include "identity/key_ring.h"
#include "identity/principal.h"

namespace tradewind::gateway {

// What a route asks of its caller.
enum class Access {
  kOpen,       // nothing: probes
  kRead,       // scope read
  kInference,  // scope inference
  kManage,     // scope manage; never without a token
  kServer,     // Principal::MaySeeServer; without a token as kRead
};

struct AdmissionPolicy {
  bool listener_is_loopback = true;         // nothing outside this device can connect
  const identity::KeyRing* keys = nullptr;  // must outlive the gateway; null: there are no tokens
  // "https://app.example"; pages of other origins are shut out.
  std::vector<std::string> cors_origins = {};
};

// The caller, null for kOpen. A live token (Authorization: Bearer, or x-api-key) speaks for itself;
// a request without one, or with one that is not live, is admitted as the anonymous caller when
// AdmitWithoutToken lets it and no key was ever created. Errors: kUnauthenticated in two sentences
// (no token, no good token), so that unknown, expired and revoked look the same; kPermissionDenied
// naming the scope; those of AdmitWithoutToken.
Result<std::shared_ptr<const identity::Principal>> Admit(const http::Request& request,
                                                         Access access,
                                                         const AdmissionPolicy& policy);

// The listener and the peer are loopback, Host is a loopback name (a name that DNS can be made to
// point here is not), no proxy forwarded it, Origin is absent or our own, and a body is JSON (a
// page can send other kinds across origins without asking first). Errors: kUnauthenticated,
// kPermissionDenied, kUnsupportedMediaType.
Status AdmitWithoutToken(const http::Request& request, const AdmissionPolicy& policy);

// The token that the request carries; "" when there is none.
std::string_view TokenOf(const http::Request& request);

// Whether the caller's allow-lists have this model and provider. Errors: kPermissionDenied.
Status CheckAllowed(const identity::Principal* caller, std::string_view model,
                    std::string_view provider);

// The organisation that X-HF-Bill-To names; nullopt without the header. Errors: kPermissionDenied.
Result<std::optional<identity::Membership>> BillTo(const http::Request& request,
                                                   const identity::Principal& caller);

// Headers that let a page of an allowed origin read the answer; none for other callers.
http::Headers CorsHeaders(const http::Request& request, const AdmissionPolicy& policy);
bool IsPreflight(const http::Request& request);
// 204 for allowed origins, 403 for others: a browser asks before it sends a token across origins.
http::Response AnswerPreflight(const http::Request& request, const AdmissionPolicy& policy);

// "localhost", 127.0.0.0/8, "[::1]", each with or without a port.
bool IsLoopbackHost(std::string_view host);

}  // namespace tradewind::gateway
