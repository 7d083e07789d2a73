#include "provider_sim/sim.h"

#include <algorithm>
#include <chrono>
#include <ctime>

#include <boost/json/array.hpp>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "provider_sim/gzip.h"
#include "provider_sim/usage.h"

namespace provider_sim {
namespace {

namespace json = boost::json;

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string_view TokenOf(std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer ";
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  if (authorization.size() < kScheme.size() ||
      !std::ranges::equal(authorization.substr(0, kScheme.size()), kScheme, {}, lower)) {
    return {};
  }
  return authorization.substr(kScheme.size());
}

// The same key comes again and again.
const std::string& HashOfKey(std::string_view key) {
  thread_local std::string last, hash;
  if (hash.empty() || last != key) {
    last = key;
    hash = key.empty() ? "none" : Sha256(key);
  }
  return hash;
}

std::string Chunk(std::string_view bytes) {
  return bytes.empty() ? std::string() : fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes);
}

std::string_view ModelText(const json::value& body) {
  const json::value* const model =
      body.is_object() ? body.get_object().if_contains("model") : nullptr;
  return model != nullptr && model->is_string() ? std::string_view(model->get_string())
                                                : std::string_view();
}

bool EqualNames(std::string_view name, std::string_view lower) {
  return name.size() == lower.size() &&
         std::ranges::equal(name, lower, [](char a, char b) { return a == b || (a | 0x20) == b; });
}

bool IsContentType(std::string_view name) {
  return EqualNames(name, "content-type");
}

// By the number of the request, so that nobody who asks can tell which it will be.
void ChooseOfPool(uint64_t number, Ask& ask) {
  if (ask.model == nullptr || ask.model->pool.empty()) {
    return;
  }
  const auto& pool = ask.model->pool;
  auto member =
      std::ranges::find(pool, ask.served_by, [](const auto& one) { return one->served_by; });
  if (member == pool.end()) {
    member = pool.begin() + static_cast<std::ptrdiff_t>(Mix(number) % pool.size());
  }
  ask.model = member->get();
  ask.served_by = ask.model->served_by;
}

json::value LieAbout(std::string_view lie, int64_t cost, uint64_t number) {
  constexpr int64_t kMoreThanAnyRequest = 2'000'000'000'000'000;
  if (lie == "negative") {
    return -1 - cost;
  }
  if (lie == "fraction") {
    return static_cast<double>(cost) - 0.5;  // to be rounded up
  }
  if (lie == "text") {
    return json::value(std::to_string(cost));
  }
  if (lie == "huge") {
    return kMoreThanAnyRequest;
  }
  return lie == "changing" ? cost + static_cast<int64_t>(number) : cost;
}

void AppendHugeHeaders(int64_t bytes, std::string& head) {
  constexpr int64_t kLineBytes = 4000;
  constexpr int64_t kMaxBytes = 16 << 20;
  for (int64_t i = 0; i * kLineBytes < std::min(bytes, kMaxBytes); ++i) {
    head += fmt::format(
        "x-sim-filler-{}: {}\r\n", i,
        std::string(static_cast<size_t>(std::min(kLineBytes, bytes - i * kLineBytes)), 'x'));
  }
}

}  // namespace

struct Sim::Exchange {
  Incoming& request;
  const Provider& provider;
  Endpoint endpoint;
  std::string_view model_id;  // of GET .../models/{id}
  uint64_t number;
  Reply reply = {};
  Identity identity = {};
  std::string max_tokens = {};
};

std::string DateHeader() {
  thread_local std::time_t last = 0;
  thread_local std::string header;
  const std::time_t now = std::time(nullptr);
  if (now != last) {
    std::tm parts{};
    gmtime_r(&now, &parts);
    char text[64];
    const size_t size =
        std::strftime(text, sizeof(text), "date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
    header.assign(text, size);
    last = now;
  }
  return header;
}

std::string StatusLine(int status, bool http_1_1) {
  static const std::unordered_map<int, std::string_view> kReasons = {{200, "OK"},
                                                                     {302, "Found"},
                                                                     {400, "Bad Request"},
                                                                     {401, "Unauthorized"},
                                                                     {402, "Payment Required"},
                                                                     {403, "Forbidden"},
                                                                     {404, "Not Found"},
                                                                     {405, "Method Not Allowed"},
                                                                     {408, "Request Timeout"},
                                                                     {412, "Precondition Failed"},
                                                                     {413, "Content Too Large"},
                                                                     {422, "Unprocessable Entity"},
                                                                     {429, "Too Many Requests"},
                                                                     {500, "Internal Server Error"},
                                                                     {502, "Bad Gateway"},
                                                                     {503, "Service Unavailable"},
                                                                     {504, "Gateway Timeout"}};
  const auto found = kReasons.find(status);
  return fmt::format("HTTP/1.{} {} {}\r\n", http_1_1 ? 1 : 0, status,
                     found == kReasons.end() ? "Status" : found->second);
}

Sim::Sim(std::vector<std::unique_ptr<Provider>> providers, const std::string& root,
         SimOptions options)
    : providers_(std::move(providers)), options_(std::move(options)), books_(options_.keep_log) {
  for (const auto& provider : providers_) {
    AddRoutes(*provider, "/" + provider->name);
    if (provider->name == root) {
      AddRoutes(*provider, "");
    }
  }
  if (!providers_.empty()) {
    routes_.emplace("/billing", Route{providers_.front().get(), Endpoint::kBilling});
  }
}

void Sim::AddRoutes(const Provider& provider, const std::string& prefix) {
  for (const auto& [endpoint, path] : provider.paths) {
    routes_.emplace(prefix + path, Route{&provider, endpoint});
  }
}

std::optional<Sim::Route> Sim::FindRoute(std::string_view path, std::string_view& model_id) const {
  if (const auto found = routes_.find(std::string(path)); found != routes_.end()) {
    return found->second;
  }
  for (const auto& [route_path, route] : routes_) {
    if (route.endpoint == Endpoint::kModels && path.size() > route_path.size() &&
        path.starts_with(route_path) && path[route_path.size()] == '/') {
      model_id = path.substr(route_path.size() + 1);
      return route;
    }
  }
  return std::nullopt;
}

bool Sim::KeyFits(const Provider* provider, std::string_view authorization) const {
  const std::string_view key = TokenOf(authorization);
  if (key.empty()) {
    return false;
  }
  return options_.keys.empty() || std::ranges::any_of(options_.keys, [&](const auto& known) {
           return known.second == key &&
                  (known.first.empty() || provider == nullptr || known.first == provider->name);
         });
}

Reply Sim::Handle(Incoming& request) {
  const size_t question = request.target.find('?');
  const std::string_view path = request.target.substr(0, question);
  const std::string_view query =
      question == std::string_view::npos ? "" : request.target.substr(question + 1);
  if (path.starts_with("/_sim/")) {
    return Control(request, path, query);
  }
  std::string_view model_id;
  const std::optional<Route> route = FindRoute(path, model_id);
  if (!route) {
    Reply reply;
    reply.body =
        R"({"error":{"message":"no provider serves this path","type":"invalid_request_error",)"
        R"("param":null,"code":"unknown_url"}})";
    reply.head = StatusLine(404, request.http_1_1) + DateHeader() +
                 fmt::format("content-type: application/json\r\ncontent-length: {}\r\n\r\n",
                             reply.body.size());
    reply.close_after = !request.keep_alive;
    return reply;
  }
  Exchange x{request, *route->provider, route->endpoint, model_id, ++number_};
  x.reply.provider = &x.provider;
  x.reply.close_after = !request.keep_alive;
  x.reply.key = HashOfKey(TokenOf(request.authorization));
  if (books_.keeps_log()) {
    auto entry = std::make_shared<LogEntry>();
    entry->number = x.number;
    entry->begin_ms = NowMs();
    entry->method = request.method;
    entry->path = request.target;
    entry->body = request.body.substr(0, kLogBodyBytesMax);
    entry->body_bytes = request.body.size();
    entry->provider = x.provider.name;
    entry->endpoint = NameOf(x.endpoint);
    entry->key_sha256 = x.reply.key;
    entry->outcome = "running";
    for (const auto& [name, value] : request.headers) {
      entry->headers.emplace_back(name, value);
    }
    x.reply.entry = std::move(entry);
  }
  Answer(x);
  if (x.reply.entry != nullptr) {
    x.reply.entry->model = x.reply.model == nullptr ? "" : x.reply.model->id;
    x.reply.entry->billing_id = x.reply.billable ? x.reply.billing_id : "";
    books_.Log(x.reply.entry);
  }
  return std::move(x.reply);
}

void Sim::Answer(Exchange& x) {
  const bool reports = x.endpoint >= Endpoint::kUsage;
  const bool post = x.endpoint != Endpoint::kModels && !reports;
  if (x.request.method != (post ? "POST" : "GET")) {
    Refuse(x, "405", "Method not allowed", "");
  } else if (post) {
    AnswerPost(x);
  } else if (reports && !MayReport(x.request)) {
    Refuse(x, "401", "Only a key of the organisation may ask", "");
  } else if (!reports && !x.provider.errors.contains("models_need_no_key") &&
             !KeyFits(&x.provider, x.request.authorization)) {
    Refuse(x, "401", "Invalid API key", "");
  } else {
    rules_.Apply(x.provider.name, x.model_id, NameOf(x.endpoint), x.reply.how);
    if (!Fault(x)) {
      reports ? AnswerReport(x) : AnswerModels(x);
    }
  }
}

bool Sim::MayReport(const Incoming& request) const {
  std::string_view key = TokenOf(request.authorization);
  for (const auto& [name, value] : request.headers) {
    key = EqualNames(name, "x-api-key") ? value : key;
  }
  return !key.empty() && (options_.admin_keys.empty() ||
                          std::ranges::find(options_.admin_keys, key) != options_.admin_keys.end());
}

void Sim::AnswerReport(Exchange& x) {
  const size_t question = x.request.target.find('?');
  const auto asked = ReadReportAsk(
      x.endpoint, question == std::string_view::npos ? "" : x.request.target.substr(question + 1),
      x.reply.how);
  if (!asked.has_value()) {
    Refuse(x, "invalid", "start and end have to be days of UTC, and the page one that was named",
           "start_time");
    return;
  }
  Send(x, 200, "application/json",
       ReportBody(*asked, books_.Days(x.provider.name, asked->from_s, asked->to_s), x.reply.how),
       {});
}

void Sim::AnswerPost(Exchange& x) {
  constexpr size_t kFirstBytes = 16 << 10;
  constexpr size_t kDepthMax = 128;
  unsigned char first[kFirstBytes];
  json::monotonic_resource memory(first, sizeof(first));
  boost::system::error_code error;
  json::parse_options parse_options;
  parse_options.max_depth = kDepthMax;
  const json::value body = json::parse(x.request.body, error, &memory, parse_options);

  Ask ask;
  ask.endpoint = x.endpoint;
  std::optional<Refusal> refusal;
  if (error) {
    refusal = Refusal{"bad_json", "could not parse the JSON body: " + error.message(), {}};
  } else if (x.endpoint != Endpoint::kBilling) {
    refusal = ReadAsk(x.provider, body, ask);
  }
  ChooseOfPool(x.number, ask);
  x.reply.model = ask.model;
  x.max_tokens = std::to_string(ask.max_tokens);
  rules_.Apply(x.provider.name, ModelText(body), NameOf(x.endpoint), x.reply.how);
  ApplyDirectives(ask.last_user, x.provider.name, x.reply.how);
  x.identity = MakeIdentity(x.provider, ask, x.number,
                            options_.created_s > 0 ? options_.created_s * 1000 : NowMs());
  if (x.reply.how.id == "reused") {
    x.identity = MakeIdentity(x.provider, ask, 0, NowMs());
  }
  const bool any_provider = x.request.target == "/billing";
  if (!KeyFits(any_provider ? nullptr : &x.provider, x.request.authorization)) {
    Refuse(x, "401", "Invalid API key", "");
  } else if (Fault(x)) {
    x.reply.default_outcome = "fault";
    if (x.reply.how.bill_refused && ask.model != nullptr) {
      Bill(x, ask);
    }
  } else if (refusal) {
    Refuse(x, refusal->error, refusal->message, refusal->param);
  } else if (x.endpoint == Endpoint::kBilling) {
    AnswerBilling(x, body);
  } else {
    AnswerInference(x, ask);
  }
}

// What replaces an answer altogether.
bool Sim::Fault(Exchange& x) {
  const Behaviour& how = x.reply.how;
  static const std::vector<std::pair<std::string, Template>> kNoHeaders;
  if (!how.close.empty()) {
    return true;
  }
  if (how.status != 0) {
    Refuse(x, std::to_string(how.status), how.message, "");
    return true;
  }
  if (!how.redirect.empty()) {
    const std::vector<std::pair<std::string, Template>> headers = {
        {"location", Template::OfText(how.redirect)}};
    Send(x, 302, "text/html", "", headers);
    return true;
  }
  if (how.body == "empty") {
    Send(x, 200, "application/json", "", kNoHeaders);
  } else if (how.body == "html") {
    Send(x, 200, "text/html; charset=utf-8",
         "<!DOCTYPE html><html><body><h1>Welcome to nginx!</h1></body></html>\n", kNoHeaders);
  } else if (how.body == "garbage") {
    Send(x, 200, "application/json", std::string("\x80\xff{\"choices\":[\0\x01 nonsense", 28),
         kNoHeaders);
  } else {
    return false;
  }
  return true;
}

void Sim::Refuse(Exchange& x, std::string_view name, std::string_view message,
                 std::string_view param) {
  const ErrorShape& shape = x.provider.Error(name);
  const bool numbered = !name.empty() && name[0] >= '1' && name[0] <= '9';
  const int status = numbered ? std::atoi(std::string(name).c_str()) : shape.status;
  if (x.identity.id.empty()) {
    x.identity = MakeIdentity(x.provider, {}, x.number, NowMs());
  }
  Values values;
  x.identity.Fill(values);
  const std::string given = JsonString(message);
  const std::string given_param = param.empty() ? "" : JsonString(param);
  values.Set(Slot::kMessage, given);
  values.Set(Slot::kParam, given_param);
  const std::string text = JsonString(numbered && !message.empty() ? std::string(message)
                                                                   : shape.message.Render(values));
  values.Set(Slot::kMessage, text);
  values.Set(Slot::kParam,
             shape.param.empty() ? std::string_view(given_param) : std::string_view(shape.param));
  values.Set(Slot::kType, shape.type);
  values.Set(Slot::kCode, shape.code);
  x.reply.default_outcome = "refused";
  std::vector<std::pair<std::string, Template>> headers = x.provider.error_headers;
  for (const auto& [header, value] : shape.headers) {
    headers.emplace_back(header, Template::OfText(value.Render(values)));
  }
  if (!x.reply.how.retry_after.empty()) {
    headers.emplace_back("retry-after", Template::OfText(x.reply.how.retry_after));
  }
  const Template& body = shape.body.empty() ? x.provider.error_body : shape.body;
  Send(x, status, shape.content_type, body.Render(values), headers);
}

// The prompt, so far.
void Sim::Bill(Exchange& x, const Ask& ask) {
  Reply& reply = x.reply;
  reply.billable = true;
  reply.billing_id = x.identity.billing_id;
  for (const auto& [name, value] : x.request.headers) {
    if (!x.provider.client_id_header.empty() && EqualNames(name, x.provider.client_id_header)) {
      reply.client_id = value;
    }
  }
  reply.used = {ask.prompt_tokens, 0, 0, 0, ask.images};
  const std::string& tier =
      reply.how.service_tier.empty() ? ask.service_tier : reply.how.service_tier;
  const auto at_tier = ask.model->service_tiers.find(tier);
  const bool is_known = at_tier != ask.model->service_tiers.end();
  reply.priced_as = is_known ? at_tier->second.get() : ask.model;
  reply.tier = is_known || tier.empty() ? tier : "default";
  reply.whole = {ask.prompt_tokens, 0, 0, CostNanoUsd(*reply.priced_as, reply.used)};
}

void Sim::AnswerInference(Exchange& x, const Ask& ask) {
  Reply& reply = x.reply;
  Bill(x, ask);
  if (x.endpoint == Endpoint::kEmbeddings) {
    Send(x, 200, "", EmbeddingsBody(x.provider, x.identity, ask, reply.how),
         x.provider.json_headers);
    return;
  }
  const ReplyShapes& shapes =
      x.endpoint == Endpoint::kChat ? x.provider.chat : x.provider.completions;
  provider_sim::Answer answer = MakeAnswer(ask, reply.how);
  reply.body_tokens = answer.completion_tokens();
  reply.used = {answer.prompt_tokens,      answer.cached_tokens, reply.body_tokens,
                answer.reasoning_tokens(), ask.images,           answer.written_tokens,
                answer.written_1h_tokens};
  reply.whole = {answer.prompt_tokens, answer.cached_tokens, reply.body_tokens,
                 CostNanoUsd(*reply.priced_as, reply.used)};
  answer.service_tier = reply.how.tier_told == "none" ? "" : reply.tier;
  answer.cost_nanousd = reply.whole.cost_nanousd;
  const ReplyOptions options{ask.include_usage, ask.top_logprobs};
  if (!ask.stream) {
    Send(x, 200, "", ChatBody(x.provider, shapes, x.identity, answer, options, reply.how),
         x.provider.json_headers);
    return;
  }
  reply.events = std::make_unique<EventSource>(x.provider, shapes, x.identity, std::move(answer),
                                               options, reply.how);
  Send(x, 200, "", "", x.provider.stream_headers);
}

void Sim::AnswerBilling(Exchange& x, const json::value& body) {
  constexpr size_t kIdsMax = 10'000;
  const json::value* const ids =
      body.is_object() ? body.get_object().if_contains("requestIds") : nullptr;
  if (ids == nullptr || !ids->is_array() || ids->get_array().size() > kIdsMax) {
    Refuse(x, "invalid", "requestIds must be an array of at most 10000 ids", "requestIds");
    return;
  }
  const std::string& lie = x.reply.how.costs;
  json::array requests;
  const auto tell = [&](const json::string& id, json::value cost) {
    requests.push_back(json::object{{"requestId", id}, {"costNanoUsd", std::move(cost)}});
  };
  for (const json::value& id : ids->get_array()) {
    const auto cost = id.is_string() && lie != "forget"
                          ? books_.CostOf(std::string(id.get_string()))
                          : std::nullopt;
    if (cost) {
      tell(id.get_string(), LieAbout(lie, *cost, x.number));
    }
    if (cost && lie == "twice") {
      tell(id.get_string(), *cost + 7);
    }
  }
  if (lie == "stray") {
    tell("nobody-asked", 5);
  }
  json::value all = std::move(requests);
  Send(x, 200, "application/json",
       json::serialize(json::object{{"requests", lie == "null" ? json::value() : std::move(all)}}),
       {});
}

void Sim::AnswerModels(Exchange& x) {
  x.identity = MakeIdentity(x.provider, {}, x.number, NowMs());
  if (x.model_id.empty()) {
    Send(x, 200, "", ModelsBody(x.provider), x.provider.json_headers);
  } else if (const Model* const model = x.provider.FindModel(x.model_id)) {
    Send(x, 200, "", ModelBody(x.provider, *model), x.provider.json_headers);
  } else {
    Refuse(x, "model_not_found", x.model_id, "model");
  }
}

void Sim::Send(Exchange& x, int status, std::string_view content_type, std::string body,
               const std::vector<std::pair<std::string, Template>>& headers) {
  Reply& reply = x.reply;
  const Behaviour& how = reply.how;
  const std::string prompt_tokens = std::to_string(reply.whole.prompt_tokens);
  const std::string completion_tokens = std::to_string(reply.whole.completion_tokens);
  Values values;
  x.identity.Fill(values);
  values.Set(Slot::kPromptTokens, prompt_tokens);
  values.Set(Slot::kCompletionTokens, completion_tokens);
  values.Set(Slot::kMaxTokens, x.max_tokens);

  reply.head = StatusLine(status, x.request.http_1_1) + DateHeader();
  const std::string_view type = how.content_type.empty() ? content_type : how.content_type;
  if (!type.empty()) {
    reply.head.append("content-type: ").append(type).append("\r\n");
  }
  const auto add = [&](const std::vector<std::pair<std::string, Template>>& list) {
    for (const auto& [name, value] : list) {
      if (!type.empty() && IsContentType(name)) {
        continue;
      }
      if (how.id == "missing" && (name == "inference-id" || name == "x-request-id")) {
        continue;
      }
      reply.head.append(name).append(": ");
      value.Render(values, reply.head);
      reply.head += "\r\n";
    }
  };
  add(x.provider.all_headers);
  add(headers);
  AppendHugeHeaders(how.huge_header_bytes, reply.head);
  if (how.gzip) {
    reply.head += "content-encoding: gzip\r\n";
    body = reply.events != nullptr || body.empty() ? body : Gzip(body);
  }
  reply.chunked = x.request.http_1_1;
  if (reply.events != nullptr) {
    reply.head += reply.chunked ? "transfer-encoding: chunked\r\n" : "";
    reply.close_after = reply.close_after || !reply.chunked;
  } else if (how.body == "truncated") {
    reply.head += fmt::format("content-length: {}\r\n", body.size());
    body.resize(body.size() / 2);
    reply.close_after = true;
    reply.default_outcome = "cut";
  } else if (x.provider.chunked_json && x.request.http_1_1 && status == 200 && !body.empty()) {
    reply.head += "transfer-encoding: chunked\r\n";
    body = Chunk(body) + "0\r\n\r\n";
  } else {
    reply.head += fmt::format("content-length: {}\r\n", body.size());
  }
  reply.head += reply.close_after ? "connection: close\r\n\r\n" : "connection: keep-alive\r\n\r\n";
  reply.body = std::move(body);
  if (reply.entry != nullptr) {
    reply.entry->status = status;
  }
}

void Sim::Finish(const Reply& reply, const Ending& ending) {
  if (reply.provider == nullptr) {
    return;
  }
  const std::string& outcome = ending.outcome.empty() ? reply.default_outcome : ending.outcome;
  Charge charge;
  if (reply.billable) {
    const std::string& policy = outcome == "ok"          ? "whole"
                                : reply.how.bill.empty() ? reply.provider->abort_bill
                                                         : reply.how.bill;
    if (policy != "none") {
      charge = reply.whole;
    }
    if (policy == "generated" && reply.events != nullptr) {
      charge.completion_tokens = reply.events->tokens_sent();
      Used used = reply.used;
      used.completion = charge.completion_tokens;
      used.reasoning = std::min(used.reasoning, used.completion);  // it comes first
      charge.cost_nanousd = CostNanoUsd(*reply.priced_as, used);
    }
    charge.cost_nanousd = (charge.cost_nanousd * reply.how.bill_percent + 99) / 100;
    books_.Bill(reply.provider->name, reply.model->id, reply.key,
                {reply.billing_id, reply.client_id}, charge);
  }
  if (reply.entry == nullptr) {
    return;
  }
  books_.Update([&] {
    LogEntry& entry = *reply.entry;
    entry.end_ms = NowMs();
    entry.outcome = outcome;
    entry.bytes_sent = ending.bytes_sent;
    entry.client_closed = ending.client_closed;
    entry.charge = charge;
    if (reply.events != nullptr) {
      entry.events_sent = reply.events->events_sent();
      entry.tokens_sent = reply.events->tokens_sent();
    } else if (reply.billable) {
      entry.tokens_sent = reply.body_tokens;
    }
  });
}

}  // namespace provider_sim
