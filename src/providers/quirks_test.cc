// Requests as each kind of upstream wants them. Expectations come from the providers'
// documentation.
#include "providers/quirks.h"

#include <gtest/gtest.h>

#include "catalog/known_providers.h"
#include "providers/kinds.h"
#include "providers/upstream.h"

namespace tradewind::providers {
namespace {

dialects::JsonText Request(const std::string& body) {
  auto text = dialects::JsonText::Parse(body);
  EXPECT_TRUE(text.has_value()) << body;
  return std::move(*text);
}

std::string Prepared(const Quirks& quirks, const std::string& body, bool is_stream = false,
                     std::vector<std::string>* dropped = nullptr) {
  dialects::JsonText request = Request(body);
  NameBound(quirks.bound_name, Endpoint::kChat, request);
  auto names = PrepareRequest(quirks, Endpoint::kChat, "their/id", is_stream, request);
  if (dropped != nullptr) {
    *dropped = std::move(names);
  }
  return request.Text();
}

TEST(Quirks, AreFoundByTheirKindAndAllHaveOne) {
  for (const Quirks* quirks : AllQuirks()) {
    EXPECT_EQ(FindQuirks(quirks->kind), quirks);
    EXPECT_FALSE(quirks->Path(Endpoint::kChat).empty());
  }
  EXPECT_EQ(FindQuirks("nobody"), nullptr);
  EXPECT_EQ(KindNames(), (std::vector<std::string_view>{"cerebras", "fireworks-ai", "groq",
                                                        "huggingface", "openai", "together"}));
}

TEST(Quirks, AreAllThatTheCatalogueKnowsOfAProvider) {
  const std::vector<catalog::Provider> known = KnownProviders();
  ASSERT_EQ(known.size(), 5U) << "a server of one's own must be configured";
  EXPECT_EQ(known[1].slug, "together");
  EXPECT_EQ(known[1].kind, "together");
  EXPECT_EQ(known[1].display_name, "Together AI");
  EXPECT_EQ(known[1].base_url, "https://api.together.xyz/v1");
  EXPECT_EQ(known[1].api_key_env, "TOGETHER_API_KEY");
  EXPECT_TRUE(known[1].needs_key);
  for (const catalog::Provider& provider : known) {
    EXPECT_EQ(FindQuirks(provider.kind)->base_url, provider.base_url);
    EXPECT_TRUE(catalog::IsSlugText(provider.slug)) << provider.slug;
    EXPECT_FALSE(catalog::IsPolicy(provider.slug)) << provider.slug;
  }
  EXPECT_EQ(known[4].api_key_env, "") << "a token for downloads does not pay";
}

// What carries the key, of a request that goes to `upstream` with it.
std::vector<std::pair<std::string, std::string>> HeadersWithKey(const Upstream& upstream,
                                                                std::string_view key) {
  http::Headers headers;
  Authorize(upstream, key, headers);
  return headers.all();
}

TEST(Upstream, SendsAKeyAsItsKindWantsItOrInTheHeaderOfTheConfig) {
  using Fields = std::vector<std::pair<std::string, std::string>>;
  Upstream upstream{.slug = "a", .quirks = &kGroq, .base = *http::ParseUrl("https://a.example")};
  EXPECT_EQ(HeadersWithKey(upstream, "sk-1"), (Fields{{"Authorization", "Bearer sk-1"}}));
  EXPECT_EQ(HeadersWithKey(upstream, ""), Fields{});
  upstream.api_key_header = "api-key";
  EXPECT_EQ(HeadersWithKey(upstream, "sk-1"), (Fields{{"api-key", "sk-1"}}));
  Quirks quirks = kOpenAiCompatible;
  quirks.auth = {.header = "Authorization", .prefix = "Key "};
  upstream = {.slug = "b", .quirks = &quirks, .base = upstream.base};
  EXPECT_EQ(HeadersWithKey(upstream, "sk-1"), (Fields{{"Authorization", "Key sk-1"}}));
  quirks.auth = {.header = "x-api-key", .prefix = ""};
  EXPECT_EQ(HeadersWithKey(upstream, "sk-1"), (Fields{{"x-api-key", "sk-1"}}));
}

TEST(Quirks, LeaveARequestInTheProvidersOwnFormAsItIs) {
  const std::string body =
      R"({"model":"x", "tools":[],"response_format":{"type":"json_schema","schema":{}},"stream":true})";
  dialects::JsonText request = Request(body);
  PrepareOwnForm(kTogether, true, request);
  EXPECT_EQ(request.Text(), body);
  request = Request(R"({"provider":{"zdr":true},"model":"x","models":["y"],"stream":true})");
  PrepareOwnForm(kOpenAiCompatible, true, request);
  EXPECT_EQ(request.Text(),
            R"({"model":"x","stream":true,"stream_options":{"include_usage":true}})");
}

TEST(Quirks, ABoundThatIsNullIsNoBoundUnderTheProvidersName) {
  for (const Quirks* quirks : {&kFireworks, &kTogether}) {
    const std::string sent =
        Prepared(*quirks, R"({"model":"x","max_tokens":null,"max_completion_tokens":7})");
    EXPECT_NE(sent.find(R"("max_tokens":7)"), std::string::npos) << sent;
    EXPECT_EQ(sent.find("null"), std::string::npos) << sent;
  }
  EXPECT_EQ(Prepared(kCerebras, R"({"model":"x","max_completion_tokens":null,"max_tokens":7})"),
            R"({"model":"their/id","max_completion_tokens":7})");
  EXPECT_EQ(Prepared(kCerebras, R"({"model":"x","max_completion_tokens":9,"max_tokens":null})"),
            R"({"model":"their/id","max_completion_tokens":9})");
}

TEST(Quirks, SayABoundByTheNameThatTheProviderKnows) {
  const auto named = [](BoundName name, const std::string& fields,
                        Endpoint endpoint = Endpoint::kChat) {
    dialects::JsonText request = Request(fields);
    NameBound(name, endpoint, request);
    return request.Text();
  };
  using enum BoundName;
  const std::string older = R"({"max_tokens":7})", newer = R"({"max_completion_tokens":7})";
  const std::string both = R"({"max_tokens":5,"max_completion_tokens":7})";
  for (const BoundName name : {kAsSaid, kUnclear}) {
    EXPECT_EQ(named(name, newer), newer);
    EXPECT_EQ(named(name, both), both);
  }
  EXPECT_EQ(named(kMaxTokens, newer), older);
  EXPECT_EQ(named(kMaxTokens, older), older);
  EXPECT_EQ(named(kMaxTokens, both), R"({"max_tokens":5})") << "the least counts";
  EXPECT_EQ(named(kMaxTokens, R"({"max_tokens":0,"max_completion_tokens":7})"), older);
  EXPECT_EQ(named(kMaxTokens, R"({"max_tokens":7,"max_completion_tokens":0})"), older);
  EXPECT_EQ(named(kMaxCompletionTokens, older), newer);
  EXPECT_EQ(named(kMaxCompletionTokens, newer), newer);
  EXPECT_EQ(named(kMaxCompletionTokens, both), R"({"max_completion_tokens":5})");
  EXPECT_EQ(named(kOlderToo, older), older) << "who knows the newer one knows this, too";
  EXPECT_EQ(named(kBoth, older), R"({"max_tokens":7,"max_completion_tokens":7})");
  for (const BoundName name : {kBoth, kOlderToo}) {
    EXPECT_EQ(named(name, newer), R"({"max_completion_tokens":7,"max_tokens":7})");
    EXPECT_EQ(named(name, both), R"({"max_tokens":5,"max_completion_tokens":5})");
    EXPECT_EQ(named(name, R"({"max_tokens":null,"max_completion_tokens":7})"),
              R"({"max_tokens":7,"max_completion_tokens":7})");
  }
  EXPECT_EQ(named(kBoth, R"({"max_tokens":7,"max_completion_tokens":null})"),
            R"({"max_tokens":7,"max_completion_tokens":7})");
  for (const BoundName name :
       {kAsSaid, kUnclear, kMaxTokens, kMaxCompletionTokens, kBoth, kOlderToo}) {
    EXPECT_EQ(named(name, newer, Endpoint::kCompletions), older);
    EXPECT_EQ(named(name, older, Endpoint::kCompletions), older);
  }
}

TEST(Upstream, OfOpenAiIsToldTheBoundByItsNewerNameAlone) {
  const auto at = [](const std::string& url, const Quirks& quirks = kOpenAiCompatible) {
    return BoundNameAt(quirks, *http::ParseUrl(url));
  };
  for (const char* url :
       {"https://api.openai.com/v1", "https://eu.api.openai.com/v1",
        "https://r.openai.azure.com/openai/v1", "https://r.openai.azure.us/openai/deployments/d",
        "https://r.cognitiveservices.azure.com/openai/v1",
        "https://r.services.ai.azure.com/openai/v1"}) {
    EXPECT_EQ(at(url), BoundName::kMaxCompletionTokens) << url;
  }
  for (const char* url : {"https://api.deepseek.com/v1", "https://notapi.openai.com.example/v1",
                          "https://xapi.openai.com/v1", "https://r.services.ai.azure.com/models"}) {
    EXPECT_EQ(at(url), BoundName::kUnclear) << url;
  }
  EXPECT_EQ(at("https://api.openai.com/v1", kTogether), BoundName::kMaxTokens);
}

TEST(Upstream, KnowsTheProvidersOwnPathsWhateverTheAddressIs) {
  const Upstream moved{.slug = "fireworks-ai",
                       .quirks = &kFireworks,
                       .base = *http::ParseUrl("http://127.0.0.1:1/elsewhere")};
  EXPECT_EQ(EndpointAt(moved, "inference/v1/chat/completions"), Endpoint::kChat);
  EXPECT_EQ(EndpointAt(moved, "elsewhere/chat/completions"), std::nullopt);
  EXPECT_EQ(EndpointAt(moved, "inference/v1/models"), std::nullopt);
  EXPECT_EQ(EndpointAt(moved, ""), std::nullopt);
  const Upstream generic{.slug = "site-a",
                         .quirks = &kOpenAiCompatible,
                         .base = *http::ParseUrl("http://127.0.0.1:1/v1")};
  EXPECT_EQ(EndpointAt(generic, "v1/embeddings"), Endpoint::kEmbeddings);
  const Upstream groq{
      .slug = "groq", .quirks = &kGroq, .base = *http::ParseUrl("https://groq.example")};
  EXPECT_EQ(OwnPaths(groq), std::vector<std::string>{"openai/v1/chat/completions"});
}

TEST(Quirks, ChangeNothingButTheModelWhereNothingNeedsTranslating) {
  EXPECT_EQ(
      Prepared(kOpenAiCompatible,
               R"({"model":"o/m", "seed":18446744073709551615,"messages":[ ],"x_new":{"a":1.50}})"),
      R"({"model":"their/id", "seed":18446744073709551615,"messages":[ ],"x_new":{"a":1.50}})");
  const std::string same = R"( {"messages":[], "model":"their/id"} )";
  EXPECT_EQ(Prepared(kGroq, same), same);
}

TEST(Quirks, TakeOutWhatIsMeantForTheRouter) {
  EXPECT_EQ(
      Prepared(kGroq, R"({"model":"m","provider":{"sort":"price"},"models":["a"],"messages":[]})"),
      R"({"model":"their/id","messages":[]})");
}

TEST(Quirks, DropEmptyToolsAndGiveToolChoiceItsType) {
  EXPECT_EQ(Prepared(kGroq, R"({"model":"m","tools":[ ],"tool_choice":"auto"})"),
            R"({"model":"their/id"})");
  EXPECT_EQ(
      Prepared(kGroq, R"({"model":"m","tools":[{}],"tool_choice":{"function":{"name":"f"}}})"),
      R"({"model":"their/id","tools":[{}],"tool_choice":{"type":"function","function":{"name":"f"}}})");
  for (const char* choice :
       {"\"auto\"", "\"none\"", "\"required\"", R"({"type":"function","function":{"name":"f"}})"}) {
    const std::string body =
        std::string(R"({"model":"their/id","tools":[{}],"tool_choice":)") + choice + "}";
    EXPECT_EQ(Prepared(kGroq, body), body);
  }
}

TEST(Quirks, ReadEverySpellingOfAResponseFormat) {
  const std::string expected =
      R"("response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"},"strict":false}})";
  for (const char* spelling : {R"({"type":"json_object","value":{"type":"object"}})",
                               R"({"type":"json","value":{"type":"object"}})",
                               R"({"type":"json_object","schema":{"type":"object"}})",
                               R"({"type":"json_schema","schema":{"type":"object"}})"}) {
    EXPECT_EQ(
        Prepared(kGroq, std::string(R"({"model":"their/id","response_format":)") + spelling + "}"),
        R"({"model":"their/id",)" + expected + "}")
        << spelling;
  }
  for (
      const char* same :
      {R"({"type":"text"})", R"({"type":"json_object"})",
       R"({"type":"json_schema","json_schema":{"name":"n","description":"d","schema":{"type":"object"},"strict":true}})"}) {
    const std::string body = std::string(R"({"model":"their/id","response_format":)") + same + "}";
    EXPECT_EQ(Prepared(kGroq, body), body);
  }
}

TEST(Quirks, AskForUsageWhereStreamsKeepItToThemselves) {
  EXPECT_EQ(Prepared(kOpenAiCompatible, R"({"model":"m","stream":true})", true),
            R"({"model":"their/id","stream":true,"stream_options":{"include_usage":true}})");
  EXPECT_EQ(Prepared(kOpenAiCompatible,
                     R"({"model":"m","stream_options":{"include_usage":false,"x":1}})", true),
            R"({"model":"their/id","stream_options":{"include_usage":true,"x":1}})");
  const std::string asked = R"({"model":"their/id","stream_options":{"include_usage": true}})";
  EXPECT_EQ(Prepared(kOpenAiCompatible, asked, true), asked);
  EXPECT_EQ(Prepared(kOpenAiCompatible, R"({"model":"their/id"})", false),
            R"({"model":"their/id"})");
  EXPECT_EQ(Prepared(kGroq, R"({"model":"their/id"})", true), R"({"model":"their/id"})");
}

TEST(Fireworks, RefusesTooLongPromptsInsteadOfCuttingThem) {
  EXPECT_EQ(Prepared(kFireworks, R"({"model":"m","max_completion_tokens":5})"),
            R"({"model":"their/id","max_tokens":5,"context_length_exceeded_behavior":"error"})");
  EXPECT_EQ(Prepared(kFireworks, R"({"model":"m","context_length_exceeded_behavior":"truncate"})"),
            R"({"model":"their/id","context_length_exceeded_behavior":"truncate"})");
}

TEST(Together, WantsASchemaWithoutItsEnvelopeAndACountOfLogprobs) {
  EXPECT_EQ(
      Prepared(
          kTogether,
          R"({"model":"m","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}})"),
      R"({"model":"their/id","response_format":{"type":"json_schema","schema":{"type":"object"}}})");
  EXPECT_EQ(Prepared(kTogether, R"({"model":"m","logprobs":true,"top_logprobs":3})"),
            R"({"model":"their/id","logprobs":3})");
  EXPECT_EQ(Prepared(kTogether, R"({"model":"m","logprobs":true})"),
            R"({"model":"their/id","logprobs":1})");
  EXPECT_EQ(Prepared(kTogether, R"({"model":"m","logprobs":false})"), R"({"model":"their/id"})");
}

TEST(Together, GetsDeveloperMessagesAsSystemOnes) {
  EXPECT_EQ(
      Prepared(kTogether,
               R"({"model":"m","messages":[{"role":"developer","content":"\"developer\""}]})"),
      R"({"model":"their/id","messages":[{"role":"system","content":"\"developer\""}]})");
}

TEST(Cerebras, GetsOnlyFieldsThatItKnows) {
  std::vector<std::string> dropped;
  EXPECT_EQ(
      Prepared(
          kCerebras,
          R"({"model":"m","store":true,"metadata":{},"max_tokens":7,"messages":[],"frequency_penalty":0.5,"user":"u"})",
          false, &dropped),
      R"({"model":"their/id","max_completion_tokens":7,"messages":[],"user":"u"})");
  EXPECT_EQ(dropped, (std::vector<std::string>{"store", "metadata", "frequency_penalty"}));
}

TEST(Cerebras, GetsEarlierThoughtsUnderItsOwnName) {
  EXPECT_EQ(
      Prepared(
          kCerebras,
          R"({"model":"m","messages":[{"role":"assistant","content":"a","reasoning_content":"hm"}]})"),
      R"({"model":"their/id","messages":[{"role":"assistant","content":"a","reasoning":"hm"}]})");
}

TEST(Quirks, NameTheFieldsThatGroqWouldRefuse) {
  std::vector<std::string> dropped;
  EXPECT_EQ(
      Prepared(kGroq, R"({"model":"m","logit_bias":{"1":5},"store":true,"x":1})", false, &dropped),
      R"({"model":"their/id","x":1})");
  EXPECT_EQ(dropped, (std::vector<std::string>{"logit_bias", "store"}))
      << "what plays no part is said, not passed over";
}

TEST(Quirks, CerebrasKeepsWhatItKnowsAndNamesWhatItDoesNot) {
  const std::string known =
      R"("seed":1,"stop":["a"],"n":1,"top_p":0.5,"temperature":1.2,"reasoning_effort":"low",)"
      R"("reasoning_format":"parsed","logprobs":true,"top_logprobs":2,"user":"u",)"
      R"("tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"auto")";
  std::vector<std::string> dropped;
  EXPECT_EQ(Prepared(kCerebras,
                     R"({"model":"m",)" + known +
                         R"(,"parallel_tool_calls":true,"prediction":{},"service_tier":"auto"})",
                     false, &dropped),
            R"({"model":"their/id",)" + known + "}");
  EXPECT_EQ(dropped,
            (std::vector<std::string>{"parallel_tool_calls", "prediction", "service_tier"}));
}

TEST(Quirks, CerebrasGetsASchemaAsItIsWithStreamToo) {
  const std::string schema =
      R"("response_format":{"type":"json_schema","json_schema":{"name":"a","strict":true,)"
      R"("schema":{"type":"array","minItems":2}}},"stream":true})";
  EXPECT_EQ(Prepared(kCerebras, R"({"model":"m",)" + schema, true),
            R"({"model":"their/id",)" + schema);
}

// --- What refusals mean ---

TEST(Refusals, WhatCerebrasDoesNotTakeAnotherRouteMay) {
  const auto of = [](int status, const char* code) {
    return RefusalOf(kCerebras, status, {"m", "invalid_request_error", "validation_error", code});
  };
  EXPECT_EQ(of(400, "wrong_api_format"), Refusal::kNotHere);
  EXPECT_EQ(of(422, "wrong_api_format"), Refusal::kNotHere);
  EXPECT_EQ(of(400, "other"), Refusal::kByStatus);
}

TEST(Refusals, AnErrorWithTheStatusOfAnAnswerSaysItsOwn) {
  const auto of = [](const char* body) { return StatusOf(dialects::ReadWireError(0, body)); };
  EXPECT_EQ(of(R"({"error":{"message":"no","code":429}})"), 429);
  EXPECT_EQ(of(R"({"error":{"message":"no","code":"503"}})"), 503);
  EXPECT_EQ(of(R"({"error":{"message":"no","type":"rate_limit_error"}})"), 429);
  EXPECT_EQ(of(R"({"error":{"message":"no","code":"insufficient_quota"}})"), 402);
  EXPECT_EQ(of(R"({"base_resp":{"status_code":1002,"status_msg":"rate limit"}})"), 429);
  EXPECT_EQ(of(R"({"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}})"), 402);
  EXPECT_EQ(of(R"({"error_code":18,"error_msg":"Open api qps request limit reached"})"), 429);
  for (const char* none :
       {R"({"error":{"message":"no"}})", R"({"error":{"message":"no","code":200}})",
        R"({"error":{"message":"no","code":600}})", R"({"error":{"message":"no","code":"4x4"}})",
        R"({"error":{"message":"no","code":40000}})",
        R"({"error":{"message":"no field: 'insufficient balance, rate limit'"}})"}) {
    EXPECT_EQ(of(none), 0) << none;
  }
}

TEST(Refusals, ACodeThatRepeatsTheStatusIsNoWord) {
  EXPECT_EQ(RefusalOf(kOpenAiCompatible, 403, {"m", "insufficient_quota", "", "403"}),
            Refusal::kNoFunds);
}

TEST(Refusals, A403IsAboutTheKeyOnlyWhenItSaysSo) {
  const auto of = [](const char* body, const Quirks& quirks = kOpenAiCompatible) {
    return RefusalOf(quirks, 403, dialects::ReadWireError(403, body));
  };
  EXPECT_EQ(of(R"({"error":{"message":"no","code":"invalid_api_key"}})"), Refusal::kKey);
  EXPECT_EQ(of(R"({"error":{"message":"no","code":"insufficient_quota"}})"), Refusal::kNoFunds);
  for (const char* body :
       {R"({"error":{"message":"flagged","code":"moderation_blocked"}})",
        R"({"error":"You need to accept the licence of this gated model"})",
        R"({"error":{"message":"You are not allowed to sample from this model.",)"
        R"("type":"invalid_request_error"}})",
        "<html>forbidden</html>", ""}) {
    EXPECT_EQ(of(body), Refusal::kNotHere) << body;
  }
  EXPECT_EQ(of(R"({"error":"This authentication method does not have sufficient permissions to )"
               R"(call Inference Providers on behalf of user ada"})",
               kHuggingFace),
            Refusal::kKey);
}

TEST(Refusals, WhatDoesNotFitThisRouteMayFitAnother) {
  const auto of = [](int status, const char* body) {
    return RefusalOf(kOpenAiCompatible, status, dialects::ReadWireError(status, body));
  };
  for (const char* body :
       {R"({"error":{"message":"long","code":"context_length_exceeded"}})",
        R"({"object":"error","message":"This model's maximum context length is 4096 tokens."})",
        R"({"error":{"message":"the request exceeds the available context size","code":400}})",
        R"({"error":{"message":"no","code":"unsupported_parameter","param":"logprobs"}})",
        R"({"message":"body.store: property 'body.store' is unsupported"})"}) {
    EXPECT_EQ(of(400, body), Refusal::kNotHere) << body;
  }
  EXPECT_EQ(of(413, ""), Refusal::kNotHere);
  EXPECT_EQ(of(400, R"({"error":{"message":"temperature must be at most 2"}})"), Refusal::kByStatus)
      << "every route would say so";
  EXPECT_EQ(of(429, R"({"error":{"message":"pay","code":"insufficient_quota"}})"),
            Refusal::kNoFunds)
      << "it does not pass by itself";
  EXPECT_EQ(of(429, R"({"error":{"message":"slow down"}})"), Refusal::kByStatus);
}

TEST(Refusals, AreReadAsTheirProviderMeansThem) {
  EXPECT_EQ(RefusalOf(kFireworks, 412, {}), Refusal::kKey) << "the account is suspended";
  EXPECT_EQ(RefusalOf(kGroq, 498, {}), Refusal::kOverloaded);
  EXPECT_EQ(RefusalOf(kGroq, 400, {"", "", "", "tool_use_failed"}), Refusal::kNotHere);
  EXPECT_EQ(RefusalOf(kTogether, 404, {"", "model_not_available", "", ""}), Refusal::kModel);
  EXPECT_EQ(RefusalOf(kCerebras, 401, {}), Refusal::kByStatus);
}

}  // namespace
}  // namespace tradewind::providers
