#include "dialects/known_fields.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "dialects/billed_apart.h"

namespace tradewind::dialects {
namespace {

// In lower case, sorted. No place here has what puts text into a prompt that is not in the request
// (Mistral's safe_prompt), or puts it there more than once (the instruction before each input of
// some embeddings), nor what names another model, an adapter, or something kept at the provider.
// clang-format off
constexpr auto kKnown = std::to_array<std::string_view>({
    "add_generation_prompt", "add_special_tokens", "allowed_token_ids", "audio",
    "auto_max_new_tokens", "bad_words", "best_of", "cache_control", "cache_prompt",
    "cache_salt", "chat_template_args", "chat_template_kwargs", "citation_options", "clear_thinking",
    "context_length_exceeded_behavior", "continue_final_message", "debug",
    "decoder_input_details", "details", "dimensions", "disable_reasoning",
    "disable_tool_validation", "do_sample", "documents", "dry_allowed_length", "dry_base",
    "dry_multiplier", "dry_penalty_last_n", "dry_sequence_breakers", "dynatemp_exponent",
    "dynatemp_range", "early_stopping", "ebnf", "echo", "echo_last", "embedding_type",
    "embedding_types", "enable_thinking", "encoding_format", "epsilon_cutoff", "eta_cutoff",
    "exclude_domains", "format", "frequency_penalty", "function_call", "functions", "grammar",
    "grammar_lazy", "guided_choice", "guided_decoding_backend", "guided_grammar",
    "guided_json", "guided_regex", "guided_whitespace_pattern", "id_slot", "ignore_eos",
    "include_domains", "include_reasoning", "include_stop_str_in_output", "incremental_output",
    "input", "input_type", "json_schema", "keep_alive", "late_chunking", "length_penalty",
    "logit_bias", "logprobs", "max_completion_tokens", "max_gen_len", "max_length",
    "max_new_tokens", "max_output_tokens", "max_tokens", "max_tokens_to_sample", "messages",
    "metadata", "min_keep", "min_length", "min_p", "min_tokens", "mirostat", "mirostat_eta",
    "mirostat_lr", "mirostat_mode", "mirostat_target", "mirostat_tau", "modalities", "model",
    "models", "n", "n_cmpl", "n_keep", "n_predict", "n_probs", "no_repeat_ngram_size",
    "no_stop_trim", "normalize", "normalized", "num_ctx", "num_predict", "output_dimension",
    "output_dtype", "parallel_function_calling", "parallel_tool_calls", "parse_tool_calls",
    "penalize_nl", "penalty_alpha", "perf_metrics_in_response", "post_sampling_probs",
    "presence_penalty", "priority", "prompt", "prompt_cache_isolation_key", "prompt_cache_key",
    "prompt_cache_retention", "prompt_logprobs", "prompt_truncate_len", "provider",
    "random_seed", "raw_output", "reasoning", "reasoning_effort", "reasoning_format",
    "reasoning_history", "reasoning_split", "regex", "rep_pen", "repeat_last_n",
    "repeat_penalty", "repetition_penalty", "repetition_penalty_range", "request_id",
    "response_fields", "response_format", "result_format", "return_full_text",
    "return_progress", "return_token_ids", "return_tokens", "return_tokens_as_token_ids",
    "rid", "safety_identifier", "samplers", "seed", "separate_reasoning", "service_tier",
    "session_id", "skip_special_tokens", "smoothing_factor", "spaces_between_special_tokens",
    "stop", "stop_regex", "stop_sequences", "stop_token_ids", "store", "stream",
    "stream_options", "stream_reasoning", "structural_tag", "structured_outputs", "suffix",
    "suppress_tokens", "t_max_predict_ms", "task", "temperature", "temperature_last", "tfs",
    "tfs_z", "thinking", "thinking_budget", "thinking_forced_open", "thinking_token_budget",
    "timeout", "timings_per_token", "tool_choice", "tool_stream", "tools", "top_a", "top_k",
    "top_logprobs", "top_n_sigma", "top_n_tokens", "top_p", "trace", "transforms", "truncate",
    "truncate_prompt_tokens", "truncation", "truncation_side", "typical", "typical_p", "usage",
    "use_beam_search", "user", "verbosity", "vl_high_resolution_images", "watermark",
    "xtc_probability", "xtc_threshold",
});
// clang-format on
static_assert(std::ranges::is_sorted(kKnown));

}  // namespace

bool IsKnownField(std::string_view folded) {
  return std::ranges::binary_search(kKnown, folded);
}

std::vector<std::string> UnknownFields(const JsonText& request) {
  std::vector<std::string> unknown;
  for (const std::string_view name : request.names()) {
    if (std::string folded = CaseFolded(name);
        !IsKnownField(folded) && !IsFieldBilledApart(folded) && !SaysNothing(request.Raw(name))) {
      unknown.push_back(std::move(folded));
    }
  }
  return unknown;
}

}  // namespace tradewind::dialects
