#include "dialects/billed_apart.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace tradewind::dialects {
namespace {

// In lower case, with their reasons. What is neither here nor known to cost nothing
// (known_fields.h) is refused under a hard budget too, in other words.
constexpr auto kApart = std::to_array<std::string_view>({
    // They hold other fields, which then count: max_tokens, n, tools of the provider's.
    "extra_body",                    // LiteLLM, Gemini
    "generation_config",             // Gemini
    "generationconfig",              // the same
    "additionalmodelrequestfields",  // Bedrock
    "litellm_params",                // LiteLLM
    "additional_drop_params",        // LiteLLM: takes fields out, max_tokens too
    "venice_parameters",             // Venice: searches the web
    "features",                      // Open WebUI: the same, and pictures
    "extra_headers",                 // LiteLLM: of the request that it sends
    "headers",                       // the same
    "provider_specific_header",      // the same
    // Another model than the route's, at its own price; or several.
    "route",                         // OpenRouter
    "preset",                        // OpenRouter: a list of models, prompt and parameters
    "fallbacks",                     // LiteLLM
    "context_window_fallbacks",      // the same
    "context_window_fallback_dict",  // the same
    "content_policy_fallbacks",      // the same
    "model_list",                    // the same
    "custom_llm_provider",           // the same
    "api_base",                      // the same
    "base_url",                      // the same
    "fallback_models",               // gateways
    "provider_options",              // Vercel
    "provideroptions",               // the same
    "compound_custom",               // Groq: models and tools of its own
    "safety_model",                  // Together: reads prompt and answer
    // Answers that are not delivered, and bounds of them under other names.
    "prediction",            // OpenAI, Fireworks, Cerebras: rejected tokens are billed
    "speculation",           // Fireworks: the same
    "num_return_sequences",  // Transformers' n
    "num_retries",           // LiteLLM: what failed may be billed, too
    "max_retries",           // the same
    "retry_policy",          // the same
    "candidate_count",       // Gemini's n
    "candidatecount",        // the same
    "maxtokens",             // Bedrock
    "maxoutputtokens",       // Gemini
    // Input that is not in the request, or counts for more than its bytes.
    "image",                     // many: one picture beside the prompt
    "images",                    // Fireworks (completions), Ollama
    "image_data",                // llama.cpp
    "video",                     // the same
    "videos",                    // the same
    "files",                     // Open WebUI
    "file_ids",                  // the same
    "attachments",               // the same
    "prompt_embeds",             // vLLM: many prompts, each with answers of its own
    "input_embeds",              // SGLang
    "prompt_id",                 // LiteLLM: a prompt that is kept there
    "prompt_label",              // the same
    "prompt_version",            // the same
    "prompt_variables",          // the same
    "previous_response_id",      // OpenAI: what was said before
    "conversation",              // the same
    "cached_content",            // Gemini
    "cachedcontent",             // the same
    "data_sources",              // Azure: what is found in them
    "vector_store_ids",          // LiteLLM
    "connectors",                // Cohere
    "mcp_servers",               // Anthropic, LiteLLM
    "container",                 // Anthropic: by the hour
    "tool_ids",                  // Open WebUI
    "tool_servers",              // the same
    "roles",                     // LiteLLM: text that is put before each message
    "custom_prompt_dict",        // the same
    "chat_template_str",         // text-generation-webui: a template may repeat what it likes
    "instruction_template_str",  // the same
    "media_io_kwargs",           // vLLM: how many frames are read
    "max_dynamic_patch",         // InternVL: how many tiles a picture is cut into
    // Searches and tools that the provider runs.
    "search_settings",           // Groq
    "web_search",                // Baidu
    "enable_web_search",         // MiniMax
    "enable_enhancement",        // Hunyuan
    "force_search_enhancement",  // the same
    "enable_code_interpreter",   // Qwen
    // Other prices for the same tokens, or fees beside them.
    "speed",               // Anthropic: the fast mode
    "inference_geo",       // Anthropic: in one country
    "servicetier",         // Bedrock
    "performanceconfig",   // Bedrock
    "performance_config",  // the same
    "guardrails",          // LiteLLM
    "guardrailconfig",     // Bedrock
    "guardrail_config",    // the same
});

// Media beside a message's content: of Ollama's, and of answers that come back with pictures.
constexpr auto kApartOfMessage =
    std::to_array<std::string_view>({"images", "videos", "audios", "files", "attachments"});

// What is in them a template may write as often as it likes, and servers take some for their own
// words: a whole template, or (vLLM) what stands behind each message, `eos_token`.
constexpr auto kTemplateFields =
    std::to_array<std::string_view>({"chat_template_kwargs", "chat_template_args"});
constexpr std::string_view kSwitches = "features";  // sent with each request, off as well
constexpr size_t kTemplateWordBytesMax = 16;        // "high", "detailed thinking"

// A flag, a number, or a word: nothing that grows when it is repeated.
bool IsTemplateSwitch(std::string_view name, std::string_view json) {
  if (!json.starts_with('"')) {
    return SaysNothing(json) || (!json.starts_with('{') && !json.starts_with('['));
  }
  const std::string folded = CaseFolded(name);
  return json.size() <= kTemplateWordBytesMax + std::string_view(R"("")").size() &&
         folded != "chat_template" && !folded.contains("token");
}

// Of an object of switches.
bool IsAllOff(std::string_view json) {
  const Result<JsonText> fields = JsonText::Parse(std::string(json));
  return fields.has_value() && std::ranges::all_of(fields->names(), [&](std::string_view name) {
           return SaysNothing(fields->Raw(name));
         });
}

bool RepeatsInTemplate(std::string_view json) {
  const Result<JsonText> fields = JsonText::Parse(std::string(json));
  if (!fields.has_value()) {
    return json.starts_with('{');  // of more fields than are read
  }
  return !std::ranges::all_of(fields->names(), [&](std::string_view name) {
    return IsTemplateSwitch(name, fields->Raw(name));
  });
}

}  // namespace

bool SaysNothing(std::string_view json) {
  return json == "null" || json == "false" || json == "0" || json == "[]" || json == "{}" ||
         json == R"("")";
}

bool IsFieldBilledApart(std::string_view folded) {
  return std::ranges::find(kApart, folded) != kApart.end();
}

bool IsFieldReadAsBilledApart(std::string_view folded) {
  return std::ranges::find(kReadAsBilledApart, folded) != kReadAsBilledApart.end();
}

std::string FieldBilledApart(const JsonText& request) {
  for (const std::string_view name : request.names()) {
    const std::string folded = CaseFolded(name);
    const std::string_view raw = request.Raw(name);
    const bool is_apart =
        IsFieldBilledApart(folded)
            ? !SaysNothing(raw) && !(folded == kSwitches && IsAllOff(raw))
            : std::ranges::find(kTemplateFields, folded) != kTemplateFields.end() &&
                  RepeatsInTemplate(raw);
    if (is_apart) {
      return folded;
    }
  }
  return "";
}

bool IsMessageFieldBilledApart(std::string_view name) {
  return std::ranges::find(kApartOfMessage, CaseFolded(name)) != kApartOfMessage.end();
}

}  // namespace tradewind::dialects
