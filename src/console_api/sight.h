// Whose money a caller may see, and what a query asks for; for the APIs of money.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "http/query.h"
#include "identity/principal.h"
#include "identity/store.h"

namespace tradewind::console_api {

// Everything, one organisation, or what one key spent.
struct Sight {
  std::optional<std::string> org_id, key_id;
};

Sight SightOf(const identity::Principal& caller);

// By name or id. Errors: kNotFound (param key), also where the caller may not see it.
Result<identity::KeyInfo> FindKey(identity::Store& store, const std::string& name,
                                  const Sight& sight);

// Whose budget "key:ID/model:..." is: ids tell people nothing. Empty: it is the server's, or nobody
// has this id any more.
identity::Store::Label OwnerOfScope(identity::Store& store, std::string_view scope);

// When a listing or a sum begins or ends, in nanoseconds: a date, a time, or a span, which counts
// back from now ("7d": a week ago). Errors: kInvalidArgument naming it.
Result<int64_t> ReadTime(std::string_view text, std::string_view name, int64_t otherwise,
                         int64_t now_s);
Result<int64_t> TimeOf(const http::Query& query, std::string_view name, int64_t otherwise,
                       int64_t now_s);

// What a query that is read wrongly would answer is taken for what was asked. Errors:
// kInvalidArgument naming the first field that is none of these.
Status CheckFields(const http::Query& query, std::span<const std::string_view> fields);

// The id of an "org", "project" or "user" that the query names by its name or id; "": it names none.
// An id of somebody who is gone stays one, as his requests do. Errors: kNotFound naming the field.
Result<std::string> ReadOwner(identity::Store& store, const identity::Principal& caller,
                              const http::Query& query, std::string_view kind);

// The organisation that a query is of: the caller's own where it sees no other. "": of all. Errors:
// kNotFound (param org), also where the caller may not see it.
Result<std::string> ReadOrg(identity::Store& store, const identity::Principal& caller,
                            const http::Query& query);

}  // namespace tradewind::console_api
