#include "dialects/openai_facts.h"

#include <gtest/gtest.h>

#include "base/limits.h"

namespace tradewind::dialects {
namespace {

Result<OpenAiFacts> Facts(std::string body) {
  auto text = JsonText::Parse(std::move(body));
  EXPECT_TRUE(text.has_value());
  return ReadOpenAiFacts(*text);
}

TEST(OpenAiFacts, ReadsWhatChoosesARoute) {
  const auto facts = Facts(R"({"model":"o/m:cheapest","models":["o/n"],"stream":true,
      "stream_options":{"include_usage":true},"tools":[{"type":"function"}],"max_tokens":90,
      "max_completion_tokens":80,"n":2,"response_format":{"type":"json_schema"},"logprobs":true,
      "messages":[{"role":"user","content":"hi"}]})");
  ASSERT_TRUE(facts.has_value());
  EXPECT_EQ(facts->model, "o/m:cheapest");
  EXPECT_EQ(facts->models, std::vector<std::string>{"o/n"});
  EXPECT_TRUE(facts->stream && facts->include_usage && facts->has_tools && facts->has_schema);
  EXPECT_TRUE(facts->has_logprobs);
  EXPECT_EQ(facts->max_tokens, 80);
  EXPECT_EQ(facts->largest_max_tokens, 90);
  EXPECT_EQ(facts->n, 2);
  EXPECT_FALSE(facts->has_images);
  EXPECT_GT(facts->input_bytes, 20);
}

TEST(OpenAiFacts, NeedsNothingForWhatIsEmptyOrNull) {
  const auto facts =
      Facts(R"({"model":"m","tools":[],"response_format":{"type":"text"},"logprobs":false,
      "stream":null,"messages":[{"role":"user","content":[{"type":"text","text":"\"image_url\"","image_url":null}]}]})");
  ASSERT_TRUE(facts.has_value());
  EXPECT_FALSE(facts->has_tools || facts->has_schema || facts->has_logprobs || facts->stream);
  EXPECT_FALSE(facts->has_images);
}

TEST(OpenAiFacts, CountsTheAnswersThatMayBeBilled) {
  EXPECT_EQ(Facts(R"({"model":"m","prompt":"a"})")->answers, 1);
  EXPECT_EQ(Facts(R"({"model":"m","prompt":["a","b","c"],"n":2})")->answers, 6);
  EXPECT_EQ(Facts(R"({"model":"m","prompt":[1,2,3],"best_of":5})")->answers, 5);
  EXPECT_EQ(Facts(R"({"model":"m","prompt":[[1],[2]]})")->answers, 2);
  EXPECT_EQ(Facts(R"({"model":"m","prompt":[1,"a"]})")->answers, 2);
}

TEST(OpenAiFacts, CountsTheNamesOfOtherServersForABoundAndForAnswers) {
  const auto largest = [](const std::string& fields) {
    return Facts(R"({"model":"m",)" + fields + "}")->largest_max_tokens;
  };
  EXPECT_EQ(largest(R"("max_tokens":5,"n_predict":2000)"), 2000);
  EXPECT_EQ(largest(R"("max_tokens":5,"n_predict":3)"), 5);
  EXPECT_EQ(largest(R"("n_predict":7.0)"), 7);
  EXPECT_EQ(largest(R"("max_length":70,"max_completion_tokens":9)"), 70);
  for (const char* nothing : {"-1", "-2", "0", "null", "\"2000\"", "1.5", "1e300", "[7]", "true"}) {
    EXPECT_EQ(largest(R"("n_predict":)" + std::string(nothing)), std::nullopt) << nothing;
  }
  for (const char* name : {"max_new_tokens", "max_output_tokens", "max_tokens_to_sample",
                           "max_gen_len", "num_predict"}) {
    EXPECT_EQ(largest(R"("max_tokens":5,")" + std::string(name) + R"(":2000)"), 2000) << name;
  }
  EXPECT_EQ(Facts(R"({"model":"m","N_Predict":7})").error().param, "n_predict");
  EXPECT_EQ(Facts(R"({"model":"m","n":2,"n_cmpl":3})")->answers, 3);
  EXPECT_EQ(Facts(R"({"model":"m","n_cmpl":0})").error().param, "n_cmpl");
}

TEST(OpenAiFacts, HasToolsForEachTimeThatATemplateMayWriteThem) {
  const auto growth = [](const std::string& messages) {
    return Facts(
               R"({"model":"m","tools":[{"type":"function","function":{"name":"f","description":")" +
               std::string(1000, 'a') + R"("}}],"messages":[)" + messages + "]}")
        ->rewritten_growth;
  };
  const std::string go = R"({"role":"user","content":"go"})";
  EXPECT_GE(growth(go + "," + go + "," + go) - growth(go), 2000);
}

TEST(OpenAiFacts, TakesNoToolForTheClientsWhoseTypeSomeMayReadOtherwise) {
  EXPECT_EQ(
      Facts(R"({"model":"m","tools":[{"type":"function","Type":"web_search"}]})")->billed_apart,
      "tools");
}

TEST(OpenAiFacts, NamesWhatIsBilledApartFromTokens) {
  const auto apart = [](const std::string& field) {
    return Facts(R"({"model":"m",)" + field + "}")->billed_apart;
  };
  EXPECT_EQ(apart(R"("tools":[{"type":"function","function":{"name":"f"}}])"), "");
  EXPECT_EQ(apart(R"("tools":[{"function":{"name":"f"}}])"), "");
  EXPECT_EQ(apart(R"("tools":[{"type":"web_search"}])"), "tools");
  EXPECT_EQ(apart(R"("tools":[{"google_search":{}}])"), "tools");
  EXPECT_EQ(apart(R"("tools":[{"type":"custom","custom":{"name":"apply_patch"}}])"), "")
      << "which the client runs";
  EXPECT_EQ(apart(R"("tools":[{"type":"custom"}])"), "tools");
  EXPECT_EQ(apart(R"("tools":[{"type":"custom","name":"f","custom":"f"}])"), "tools");
  EXPECT_EQ(apart(R"("web_search_options":{})"), "web_search_options");
  EXPECT_EQ(apart(R"("search_parameters":{})"), "search_parameters");
  for (const char* nothing : {"null", "false", "0", "[]", "{}", R"("")"}) {
    for (const char* field : {"plugins", "enable_search", "mm_processor_kwargs", "chat_template"}) {
      EXPECT_EQ(apart('"' + std::string(field) + "\":" + nothing), "") << field << nothing;
    }
  }
  EXPECT_EQ(apart(R"("plugins":[{"id":"web"}])"), "plugins");
  EXPECT_EQ(apart(R"("enable_search":true)"), "enable_search");
  EXPECT_EQ(apart(R"("prediction":{"type":"content","content":"a"})"), "prediction");
  EXPECT_EQ(apart(R"("messages":[{"content":"a","images":["https://a.example/b.png"]}])"),
            "images");
  EXPECT_EQ(apart(R"("service_tier":["priority"])"), "service_tier");
  EXPECT_EQ(apart(R"("service_tier":"priority")"), "") << "a route may have prices of it";
  EXPECT_EQ(apart(R"("service_tier":null)"), "");
}

TEST(OpenAiFacts, NamesTheServiceTier) {
  EXPECT_EQ(Facts(R"({"model":"m","service_tier":"priority"})")->service_tier, "priority");
  EXPECT_EQ(Facts(R"({"model":"m","service_tier":null})")->service_tier, "");
  EXPECT_EQ(Facts(R"({"model":"m"})")->service_tier, "");
  const auto huge = Facts(R"({"model":"m","service_tier":")" + std::string(1'000'000, 'x') + "\"}");
  EXPECT_EQ(huge->service_tier, "");
  EXPECT_EQ(huge->billed_apart, "service_tier");
}

TEST(OpenAiFacts, SeesAnImagePart) {
  EXPECT_TRUE(
      Facts(
          R"({"model":"m","messages":[{"content":[{"type" : "image_url","image_url":{"url":"u"}}]}]})")
          ->has_images);
}

TEST(OpenAiFacts, CountsPicturesHoweverTheirTypeIsWritten) {
  const auto images = [](const std::string& part) {
    return Facts(R"({"model":"m","messages":[{"content":[)" + part + "]}]}")->images;
  };
  EXPECT_EQ(images(R"({"type":"image\u005furl"},{"type":"image_url"})"), 2);
  EXPECT_EQ(images(R"({"t\u0079pe" :"\u0069mage_url"})"), 1);
  EXPECT_EQ(images(R"({"type":"input_image"})"), 1);
  EXPECT_EQ(images(R"({"image_url":"https://a.example/b.png"})"), 1)
      << "some servers go by the name";
  EXPECT_EQ(images(R"({"type":"text","text":"\\u005f \"type\":\"image_url\""})"), 0);
  EXPECT_EQ(images(R"({"type":"text","image_url":null,"name":"image_url"})"), 0);
}

// The last one counts here, and a provider may take the first: a picture that nobody counted.
TEST(OpenAiFacts, RefusesAPartOfTwoTypes) {
  const auto param = [](const std::string& content) {
    const auto facts =
        Facts(R"({"model":"m","messages":[{"content":"a, [b]"},{"content":)" + content + "}]}");
    return facts.has_value() ? std::string() : facts.error().param;
  };
  EXPECT_EQ(param(R"([{"type":"text","text":"a"},{"type":"image_url","type":"text","text":"b"}])"),
            "messages[1].content[1].type");
  EXPECT_EQ(param(R"([{"type":"text","text":"a","type":"text"}])"), "messages[1].content[0].type")
      << "whatever they say";
  EXPECT_EQ(param(R"([{"type":"image_url","t\u0079pe":"text"}])"), "messages[1].content[0].type");
  EXPECT_EQ(param(R"([{"type":"text","Type":"image_url"}])"), "messages[1].content[0].type")
      << "some read names whatever their case is";
  EXPECT_EQ(param(R"([{"type":null,"type":"text"}])"), "messages[1].content[0].type");
  EXPECT_EQ(param(R"({"type":"image_url","type":"text"})"), "messages[1].content.type");
  EXPECT_EQ(param(R"([{"type":"text"},{"type":"text"}])"), "");
  EXPECT_EQ(param(R"([{"type":"text","text":"\"type\":\"a\",\"type\""}])"), "");
  EXPECT_EQ(param(R"([{"type":"image_url","image_url":{"url":"u","type":"png"}}])"), "")
      << "of something inside of it";
  const auto error = Facts(R"({"model":"m","messages":[{"content":[{"type":"a","type":"b"}]}]})");
  EXPECT_EQ(error.error().code, ErrorCode::kInvalidArgument);
}

// Servers in Go take them for the same; what is held for would not be what is asked.
TEST(OpenAiFacts, RefusesNamesThatSomeReadAsOthers) {
  const auto param = [](const std::string& fields) {
    const auto facts = Facts(R"({"model":"m",)" + fields + "}");
    return facts.has_value() ? std::string() : facts.error().param;
  };
  EXPECT_EQ(param(R"("max_tokens":1,"MAX_TOKENS":100000)"), "max_tokens");
  EXPECT_EQ(param(R"("max_to\u212Aens":100000)"), "max_tokens") << "the sign of the kelvin";
  EXPECT_EQ(param(R"("N":128)"), "n");
  EXPECT_EQ(param(R"("Messages":[])"), "messages");
  EXPECT_EQ(param(R"("messages":[{"role":"user","Content":"a"}])"), "messages[0].content");
  EXPECT_EQ(param(R"("messages":[{"role":"user"},{"AUDIO":{"id":"a"}}])"), "messages[1].audio");
  EXPECT_EQ(param(R"("Temperature":1,"messages":[{"content":"a","Name":"b"}])"), "")
      << "nothing depends on those";
  EXPECT_EQ(param(R"("messages":[{"tool_calls":[{"Content":1}],"content":"a"}])"), "");
}

TEST(OpenAiFacts, RefusesPromptsThatCannotBeCounted) {
  std::string many = R"("prompt":[)";
  for (int64_t i = 0; i <= limits::kJsonValuesMax; ++i) {
    many += "1,";
  }
  const auto facts = Facts(R"({"model":"m",)" + many + "1]}");
  ASSERT_FALSE(facts.has_value());
  EXPECT_EQ(facts.error().code, ErrorCode::kPayloadTooLarge) << facts.error().message;
}

TEST(OpenAiFacts, SaysWhenThoughtsMayBeHidden) {
  EXPECT_FALSE(Facts(R"({"model":"m"})")->may_think);
  EXPECT_TRUE(Facts(R"({"model":"m","reasoning_effort":"high"})")->may_think);
}

TEST(OpenAiFacts, NamesMediaWhoseSizeIsNotInTheRequest) {
  const auto apart = [](const std::string& fields) {
    return Facts(R"({"model":"m",)" + fields + "}")->billed_apart;
  };
  for (const std::string type : {"video_url", "audio_url", "file", "of_next_year"}) {
    EXPECT_EQ(apart(R"("messages":[{"content":[{"type":")" + type + R"("}]}])"), type);
    EXPECT_EQ(apart(R"("messages":[{"content":"a"},{"content":[{ "text":"b" }, {")" + type +
                    R"(" : {"type":"text"}}]}])"),
              type)
        << "some servers go by the name";
  }
  EXPECT_EQ(apart(R"("messages":[{"content":{"type":"file"}}])"), "file");
  const std::string cut =
      "a" + std::string(62, 'b') + "\xc3\xa9";  // the bound is inside of the last
  for (const std::string& odd : {std::string(R"(a\u000d\u000ab)"), cut}) {
    EXPECT_EQ(apart(R"("messages":[{"content":[{"type":")" + odd + R"("}]}])"), "content");
  }
  for (const char* text :
       {R"({"type":"text","text":"\"type\":\"file\""})", R"({"text":"a","image_url":null})",
        R"({"type":"thinking","thinking":[{"type":"text","text":"a"}]})", R"("a")"}) {
    EXPECT_EQ(apart(R"("messages":[{"content":[)" + std::string(text) + "]}]"), "") << text;
  }
  EXPECT_EQ(apart(R"("messages":[{"tool_calls":[{"type":"function"}],"content":null}])"), "");
  EXPECT_EQ(apart(R"("input":["a",{"image":"https://a.example/b.png"}])"), "input");
  EXPECT_EQ(apart(R"("messages":[{"role":"user","name":"file","content":"file"}])"), "");
  EXPECT_EQ(apart(R"("messages":[{"content":[{"input_audio":{"data":"aGk="}}]}])"), "input_audio");
  EXPECT_EQ(apart(R"("modalities":["text","image"])"), "modalities");
  EXPECT_EQ(apart(R"("modalities":[])"), "modalities");
  EXPECT_EQ(apart(R"("modalities":"audio")"), "modalities");
  EXPECT_EQ(apart(R"("modalities":["text"])"), "");
}

TEST(OpenAiFacts, CountsSoundForWhichARouteMayHaveAPrice) {
  const auto facts = [](const std::string& fields) {
    return Facts(R"({"model":"m",)" + fields + "}").value();
  };
  const std::string part = R"({"type":"input_audio","input_audio":{"data":"aGk=","format":"wav"}})";
  const auto heard = facts(R"("messages":[{"content":[)" + part + "," + part + "]}]");
  EXPECT_EQ(heard.sounds, 2);
  EXPECT_EQ(heard.billed_apart, "");
  EXPECT_FALSE(heard.wants_sound);
  EXPECT_EQ(facts(R"("messages":[{"role":"assistant","audio":{"id":"audio_1"}}])").sounds, 1)
      << "what was spoken is input again";
  EXPECT_EQ(facts(R"("messages":[{"role":"assistant","audio":null,"content":"a"}])").sounds, 0);
  EXPECT_EQ(facts(R"("messages":[{"content":[{"type":"text","text":"\"audio\":1"}]}])").sounds, 0);
  const auto spoken = facts(R"("modalities":["text","audio"],"audio":{"voice":"alloy"})");
  EXPECT_TRUE(spoken.wants_sound);
  EXPECT_EQ(spoken.billed_apart, "");
  EXPECT_FALSE(facts(R"("modalities":["text"])").wants_sound);
}

TEST(OpenAiFacts, SeesWhereAPromptIsToBeKeptForLongerThanMinutes) {
  const auto is_long = [](const std::string& fields) {
    return Facts(R"({"model":"m",)" + fields + "}")->wants_long_cache;
  };
  const std::string hour = R"("cache_control":{"type":"ephemeral","ttl":"1h"})";
  const std::string minutes = R"("cache_control":{"type":"ephemeral","ttl":"5m"})";
  const auto part = [](const std::string& control) {
    return R"("messages":[{"role":"user","content":[{"type":"text","text":"a",)" + control + "}]}]";
  };
  EXPECT_TRUE(is_long(part(hour)));
  EXPECT_FALSE(is_long(part(minutes)));
  EXPECT_FALSE(is_long(part(R"("cache_control":{"type":"ephemeral"})")));
  EXPECT_FALSE(is_long(part(R"("cache_control":{"type":"ephemeral","ttl":null})")));
  EXPECT_FALSE(is_long(part(R"("cache_control":null)")));
  EXPECT_TRUE(is_long(R"("messages":[{"role":"user","content":"a",)" + hour + "}]"));
  EXPECT_TRUE(is_long(R"("tools":[{"type":"function","function":{"name":"f"},)" + hour + "}]"));
  EXPECT_TRUE(is_long(R"("tools":[{"type":"function","function":{"name":"f",)" + hour + "}}]"));
  EXPECT_TRUE(is_long(R"("system":[{"type":"text","text":"a",)" + hour + "}]"));
  EXPECT_TRUE(is_long(hour)) << "of the whole request";
  EXPECT_FALSE(is_long(minutes));
  for (const char* odd :
       {R"("cache_control":{"ttl":"5m","ttl":"1h"})", R"("cache_control":{"ttl":"1h","ttl":"5m"})",
        R"("cache\u005fcontrol":{"\u0074tl":"1h"})", R"("Cache_Control":{"TTL":"1h"})",
        R"("cacheControl":{"ttl":"1h"})", R"("cachePoint":{"type":"default","ttl":"1h"})",
        R"("cache_control":{"ttl":3600})", R"("cache_control":{"ttl":"of next year"})",
        R"("cache_control":{"ttl":{"hours":1}})",
        R"("cache_control_injection_points":[{"control":{"ttl":"1h"}}])"}) {
    EXPECT_TRUE(is_long(part(odd))) << odd;
    EXPECT_TRUE(is_long(R"("tools":[{"function":{"name":"f"},)" + std::string(odd) + "}]")) << odd;
    EXPECT_TRUE(is_long(odd)) << odd;
  }
  for (const char* other :
       {R"("metadata":{"ttl":"1h"})",
        R"("tools":[{"function":{"parameters":{"properties":{"ttl":{"type":"string"}}}}}])",
        R"("messages":[{"content":"\"cache_control\":{\"ttl\":\"1h\"}"}])",
        R"("messages":[{"content":[{"type":"text","text":"ttl"}]}])"}) {
    EXPECT_FALSE(is_long(other)) << other;
  }
}

TEST(OpenAiFacts, SeesWhereAPromptIsToBeKept) {
  const auto wants = [](const std::string& fields) {
    return Facts(R"({"model":"m",)" + fields + "}")->wants_cache;
  };
  const std::string part = R"("messages":[{"content":[{"type":"text","text":"a",)";
  for (const char* kept : {R"("cache_control":{"type":"ephemeral"})", R"("cachePoint":{"a":1})",
                           R"("cache\u005fcontrol":{"ttl":"5m"})", R"("Cache_Control":true)"}) {
    EXPECT_TRUE(wants(kept)) << kept;
    EXPECT_TRUE(wants(part + kept + "}]}]")) << kept;
    EXPECT_TRUE(wants(R"("tools":[{"function":{"name":"f"},)" + std::string(kept) + "}]")) << kept;
  }
  for (const char* other : {R"("cache_control":null)", R"("cache_control":{})", R"("cached":true)",
                            R"("prompt_cache_key":"a")", R"("user":"cache_control")"}) {
    EXPECT_FALSE(wants(other)) << other;
    EXPECT_FALSE(wants(part + other + "}]}]")) << other;
  }
  EXPECT_FALSE(wants(R"("tools":[{"function":{"name":"put","parameters":{"type":"object",)"
                     R"("properties":{"cacheControl":{"type":"string"}}}}}])"))
      << "a parameter of the client's own function";
}

TEST(OpenAiFacts, CountsThePromptsOfOneRequest) {
  const auto prompts = [](const std::string& field) {
    return Facts(R"({"model":"m",)" + field + "}")->prompts;
  };
  EXPECT_EQ(prompts(R"("input":["a","b","c"])"), 3);
  EXPECT_EQ(prompts(R"("input":[1,2,3])"), 1) << "token ids";
  EXPECT_EQ(prompts(R"("prompt":[[1],[2,3]],"n":4)"), 2);
  EXPECT_EQ(prompts(R"("prompt":[])"), 1);
  EXPECT_EQ(Facts(R"({"model":"m","prompt":[[1],[2,3]],"n":4})")->answers, 8);
}

TEST(OpenAiFacts, APictureInsideOfTheMessagesIsNoText) {
  const auto bytes = [](const std::string& url) {
    return Facts(
               R"({"model":"m","messages":[{"content":[{"type":"image_url","image_url":{"url":")" +
               url + R"("}},{"type":"text","text":"a \"data: b"}]}]})")
        ->input_bytes;
  };
  EXPECT_EQ(bytes("data:image/png;base64," + std::string(100'000, 'A')), bytes(""));
  EXPECT_EQ(bytes("https://a.example/b.png"), bytes("") + 23) << "an address is text";
}

TEST(OpenAiFacts, OnlyThePictureOfAPartThatCountsAsOneIsBoundedByTheirNumber) {
  const std::string text(1000, 'A'), url = "data:image/png;base64," + text;
  const auto bytes = [](const std::string& parts) {
    return Facts(R"({"model":"m","messages":[{"content":[)" + parts + "]}]}")->picture_bytes;
  };
  const std::string part = R"({"type":"image_url","image_url":{"url":")" + url + R"("}})";
  const auto size = static_cast<int64_t>(url.size());
  EXPECT_EQ(bytes(part), size);
  EXPECT_EQ(bytes(part + "," + part), 2 * size);
  EXPECT_EQ(bytes(part + R"(,{"type":"text","text":"a","url":")" + url + R"("})"), size);
  EXPECT_EQ(bytes(R"({"type":"file","file":{"file_data":")" + url + R"("}})"), 0);
  EXPECT_EQ(bytes(R"({"type":"image_url","image_url":[{"url":")" + url + R"("},{"url":")" + url +
                  R"("}]})"),
            size)
      << "it counts as one picture";
  EXPECT_EQ(bytes(R"({"type":"image_url","image_url":{"url":"data:application/pdf;base64,)" + text +
                  R"("}})"),
            0)
      << "which has as many pages as it likes";
  EXPECT_EQ(bytes(R"({"type":"image_url","text":")" + url + R"("})"), 0);
}

TEST(OpenAiFacts, TextThatLooksLikeAPictureIsText) {
  const std::string url = "data:image/png;base64," + std::string(1000, 'A');
  const auto bytes = [](const std::string& messages) {
    return Facts(R"({"model":"m","messages":)" + messages + "}")->input_bytes;
  };
  for (const std::string& messages :
       {R"([{"content":")" + url + R"("}])",
        R"([{"content":[{"type":"text","text":")" + url + R"("}]}])",
        R"([{"content":["url",")" + url + R"("]}])", "\"" + url + "\"",
        R"([{"content":"\"url\":\")" + url + R"(\""}])"}) {
    EXPECT_EQ(bytes(messages), static_cast<int64_t>(messages.size())) << messages.substr(0, 40);
  }
  EXPECT_LT(bytes(R"([{"content":[{"image_url" : ")" + url + R"("}]}])"), 100);
  EXPECT_LT(bytes(R"([{"content":[{"file":{"file_data":")" + url + R"("}}]}])"), 100);
}

TEST(OpenAiFacts, ReadsPreferencesWithPricesAsText) {
  const auto facts =
      Facts(R"({"model":"m","provider":{"order":["a"],"only":["a","b"],"ignore":["c"],
      "allow_fallbacks":false,"data_collection":"deny","zdr":true,"sort":"price",
      "max_price":{"prompt":0.1,"completion":"0.30"},"quantizations":["fp8"]}})");
  ASSERT_TRUE(facts.has_value());
  const ProviderPreferences& wanted = facts->provider;
  EXPECT_EQ(wanted.only.size(), 2u);
  EXPECT_FALSE(wanted.allow_fallbacks);
  EXPECT_TRUE(wanted.deny_data_collection && wanted.zero_retention);
  EXPECT_EQ(wanted.max_prompt_price, "0.1");
  EXPECT_EQ(wanted.max_completion_price, "0.30");
}

TEST(OpenAiFacts, TellsAWishFromNone) {
  const auto wishes = [](const std::string& provider) {
    const auto facts = Facts(R"({"model":"m","provider":)" + provider + "}");
    EXPECT_TRUE(facts.has_value()) << provider;
    return facts.value_or(OpenAiFacts{}).provider;
  };
  EXPECT_EQ(wishes("{}").hedge, std::nullopt);
  EXPECT_EQ(wishes("{}").continuation, std::nullopt);
  EXPECT_EQ(wishes(R"({"continuation":false,"hedge":true})").continuation, false);
  EXPECT_EQ(wishes(R"({"hedge":true})").hedge, true);
  EXPECT_EQ(wishes(R"({"hedge":true})").hedge_after_ms, std::nullopt);
  EXPECT_EQ(wishes(R"({"hedge":300})").hedge, true);
  EXPECT_EQ(wishes(R"({"hedge":300})").hedge_after_ms, 300);
  EXPECT_EQ(wishes(R"({"hedge":null})").hedge, std::nullopt);
}

TEST(OpenAiFacts, TakesAPriceThatIsANumberFromItsText) {
  const auto facts = Facts(
      R"({"model":"m","provider":{"max_price":{"prompt":0.10000000000000000001,"completion": 3e-1}}})");
  ASSERT_TRUE(facts.has_value());
  EXPECT_EQ(facts->provider.max_prompt_price, "0.10000000000000000001");
  EXPECT_EQ(facts->provider.max_completion_price, "3e-1");
}

TEST(OpenAiFacts, TheFirstOfModelsStandsForAMissingModel) {
  const auto facts = Facts(R"({"models":["a","b"],"model":null})");
  ASSERT_TRUE(facts.has_value());
  EXPECT_EQ(facts->model, "a");
  EXPECT_EQ(facts->models, std::vector<std::string>{"b"});
  EXPECT_EQ(Facts(R"({"models":[]})").error().param, "model");
}

TEST(OpenAiFacts, SortIsAWordOrAnObject) {
  const auto sort = [](const std::string& text) {
    return Facts(R"({"model":"m","provider":{"sort":)" + text + "}}")->provider;
  };
  EXPECT_EQ(sort(R"({"by":"throughput"})").sort, "throughput");
  EXPECT_FALSE(sort(R"({"by":"throughput"})").across_models);
  EXPECT_FALSE(sort(R"({"by":"price","partition":"model"})").across_models);
  EXPECT_TRUE(sort(R"({"by":"price","partition":"none"})").across_models);
  EXPECT_EQ(sort(R"({"partition":"none"})").sort, "");
}

TEST(OpenAiFacts, APreferredSpeedIsANumberOrOneOfEachPercentile) {
  const auto wants = [](const std::string& value) {
    const auto facts = Facts(R"({"model":"m","provider":{"preferred_max_latency":)" + value +
                             R"(,"preferred_min_throughput":)" + value + "}}");
    EXPECT_EQ(facts->provider.latency_max_s, facts->provider.throughput_min);
    return facts->provider.latency_max_s;
  };
  EXPECT_EQ(wants("3"), 3);
  EXPECT_EQ(wants(R"({"p90":3})"), 3);
  EXPECT_EQ(wants(R"({"p99":5,"p90":3,"p50":1.5})"), 1.5) << "what is measured is a median";
  EXPECT_EQ(wants(R"({"p99":5,"p50":null,"p75":2})"), 2);
  EXPECT_EQ(wants("{}"), std::nullopt);
  EXPECT_EQ(wants("null"), std::nullopt);
}

TEST(OpenAiFacts, APriceCapIsKeptOrRefused) {
  const auto facts = [](const std::string& cap) {
    return Facts(R"({"model":"m","provider":{"max_price":)" + cap + "}}");
  };
  EXPECT_EQ(facts(R"({"prompt":1,"request":"0.01"})")->provider.max_request_price, "0.01");
  EXPECT_TRUE(facts(R"({"image":null})").has_value());
  const auto refused = facts(R"({"prompt":1,"image":0.5})");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().param, "provider.max_price");
  EXPECT_NE(refused.error().message.find("`image`"), std::string::npos);
}

TEST(OpenAiFacts, NamesThePreferencesThatPlayNoPart) {
  EXPECT_EQ(Facts(R"({"model":"m","provider":{"zdr":true,"enforce_distillable_text":true}})")
                ->provider.ignored,
            std::vector<std::string>{"enforce_distillable_text"});
}

TEST(OpenAiFacts, NamesTheFieldThatIsWrong) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"messages":[]})", "model"},
      {R"({"model":7})", "model"},
      {R"({"model":"m","stream":"yes"})", "stream"},
      {R"({"model":"m","models":"x"})", "models"},
      {R"({"model":"m","n":0})", "n"},
      {R"({"model":"m","provider":[]})", "provider"},
      {R"({"model":"m","provider":{"sort":"beauty"}})", "provider.sort"},
      {R"({"model":"m","provider":{"sort":{"by":"beauty"}}})", "provider.sort"},
      {R"({"model":"m","provider":{"sort":{"by":7}}})", "provider.sort.by"},
      {R"({"model":"m","provider":{"sort":{"partition":"x"}}})", "provider.sort.partition"},
      {R"({"model":"m","provider":{"max_price":{"prompt":[]}}})", "provider.max_price.prompt"},
      {R"({"model":"m","max_tokens":1.5})", "max_tokens"},
      {R"({"model":"m","provider":{"preferred_max_latency":{"p90":"3"}}})",
       "provider.preferred_max_latency.p90"},
      {R"({"model":"m","provider":{"preferred_max_latency":"3"}})",
       "provider.preferred_max_latency"},
      {R"({"model":"m","provider":{"continuation":1}})", "provider.continuation"},
      {R"({"model":"m","provider":{"hedge":0}})", "provider.hedge"},
      {R"({"model":"m","provider":{"hedge":"soon"}})", "provider.hedge"},
  };
  for (const auto& [body, param] : cases) {
    const auto facts = Facts(body);
    ASSERT_FALSE(facts.has_value()) << body;
    EXPECT_EQ(facts.error().param, param) << body;
  }
}

}  // namespace
}  // namespace tradewind::dialects
