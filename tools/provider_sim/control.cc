// The endpoints under /_sim/.
#include <charconv>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "provider_sim/sim.h"

namespace provider_sim {
namespace {

namespace json = boost::json;

std::string_view QueryValue(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    if (pair.size() > name.size() && pair.starts_with(name) && pair[name.size()] == '=') {
      return pair.substr(name.size() + 1);
    }
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
  }
  return {};
}

uint64_t QueryNumber(std::string_view query, std::string_view name, uint64_t fallback) {
  const std::string_view text = QueryValue(query, name);
  uint64_t value = fallback;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

json::value Sim::State() const {
  json::array names;
  for (const auto& provider : providers_) {
    names.push_back(json::value(provider->name));
  }
  return json::object{{"providers", std::move(names)},     {"requests", number_.load()},
                      {"connections", connections.load()}, {"accepted", accepted.load()},
                      {"streams", streams.load()},         {"streams_max", streams_max.load()}};
}

std::pair<int, std::string> Sim::ControlAnswer(const Incoming& request, std::string_view path,
                                               std::string_view query) {
  const bool get = request.method == "GET";
  if (path == "/_sim/faults" && get) {
    return {200, json::serialize(rules_.List())};
  }
  if (path == "/_sim/faults" && request.method == "DELETE") {
    rules_.Clear();
    return {200, "{}"};
  }
  if (path == "/_sim/faults" && request.method == "POST") {
    boost::system::error_code error;
    const json::value rules = json::parse(request.body, error);
    const std::string wrong = error ? error.message() : rules_.Add(rules);
    return wrong.empty()
               ? std::pair<int, std::string>{200, json::serialize(rules_.List())}
               : std::pair<int, std::string>{400, json::serialize(json::object{{"error", wrong}})};
  }
  if (path == "/_sim/log" && get) {
    return {200, json::serialize(books_.LogJson(QueryNumber(query, "since", 0),
                                                QueryNumber(query, "limit", kLogEntriesMax),
                                                QueryValue(query, "provider")))};
  }
  if (path == "/_sim/bill" && get) {
    return {200, json::serialize(books_.BillJson())};
  }
  if (path == "/_sim/state" && get) {
    return {200, json::serialize(State())};
  }
  if (path == "/_sim/reset" && request.method == "POST") {
    rules_.Clear();
    books_.Reset();
    streams_max = streams.load();
    return {200, "{}"};
  }
  return {404, R"({"error":"see tools/provider_sim/README.md"})"};
}

Reply Sim::Control(Incoming& request, std::string_view path, std::string_view query) {
  Reply reply;
  auto [status, body] = ControlAnswer(request, path, query);
  reply.close_after = !request.keep_alive;
  reply.head =
      StatusLine(status, request.http_1_1) +
      fmt::format("content-type: application/json\r\ncontent-length: {}\r\nconnection: {}\r\n\r\n",
                  body.size(), reply.close_after ? "close" : "keep-alive");
  reply.body = std::move(body);
  return reply;
}

}  // namespace provider_sim
