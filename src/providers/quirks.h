// What is particular to each kind of upstream that speaks OpenAI's wire format, one file per kind.
// Source: the providers' documentation and recorded exchanges.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dialects/json_text.h"
#include "dialects/wire_answer.h"

namespace tradewind::providers {

enum class Endpoint { kChat, kCompletions, kEmbeddings };

// Whether a chat can be asked for the rest of an answer whose beginning is there.
enum class PrefixForm {
  kNone,         // a last message of the assistant is answered by a new one, or refused
  kLastMessage,  // it is gone on with
  kFinalFlag,    // it is, with continue_final_message (vLLM)
};

// By which name a provider knows the bound of an answer: "max_tokens", or OpenAI's newer one of
// chats, "max_completion_tokens". The other is refused, or ignored.
enum class BoundName {
  kAsSaid,  // both
  kUnclear,
  kMaxTokens,
  kMaxCompletionTokens,
  kBoth,      // some of its models know one, some the other
  kOlderToo,  // who knows the newer one knows the older, too
};

// What an error status means beyond its number.
enum class Refusal {
  kByStatus,    // nothing: the status says it all
  kKey,         // the key or its account: no request with it is served
  kNoFunds,     // the account has nothing left
  kModel,       // the model is not there
  kNotHere,     // this route cannot; another one may: context, a parameter, a rule of the provider
  kOverloaded,  // no room now, and nothing was done
};

// How a request says whose it is: in this header the key, behind the prefix.
struct Auth {
  std::string_view header = "Authorization";
  std::string_view prefix = "Bearer ";
};

struct Quirks {
  std::string_view kind;      // "fireworks-ai": the slug, unless the config gives another name
  std::string_view name;      // "Fireworks AI", for people
  std::string_view base_url;  // with the path that all endpoints share; empty: must be configured
  // The environment variable whose key may pay; empty: only one that the config names.
  std::string_view api_key_env = {};
  Auth auth = {};
  // Behind the base URL; empty: the provider has none.
  std::string_view chat_path = "/chat/completions";
  std::string_view completions_path = "/completions";
  std::string_view embeddings_path = "/embeddings";
  // The header whose value names a request in the provider's books; always lower case.
  std::string_view request_id_header = "x-request-id";
  // Where usage stands in a stream (in the chunk that ends it, in one of its own, in all of them,
  // twice) is read off the stream, dialects/wire_answer.h. This tells only whether it stands there
  // unasked, or when stream_options.include_usage is set.
  bool usage_needs_asking = false;
  // Fields of a chat request that the provider knows; empty: it ignores what it does not know. The
  // others are taken out, and reported.
  std::span<const std::string_view> chat_fields = {};
  PrefixForm prefix = PrefixForm::kNone;
  BoundName bound_name = BoundName::kAsSaid;
  // Any server with any model may answer there: one that makes pictures of Markdown in a text
  // (dialects/picture_marks.h), whose template resolves the references in schemas of tools
  // (dialects/schema_refs.h), or that bills what a `cache_control` has it write to a cache: the
  // others cache unasked, and bill no writes.
  bool may_be_any_server = false;
  // Bills the whole answer also when its reader leaves.
  bool bills_on = false;
  // And those that it answers with an error: taken out of a chat request, and reported.
  std::span<const std::string_view> refused_fields = {};
  // From OpenAI's form to the provider's, after Normalize. May be null.
  void (*translate)(Endpoint endpoint, dialects::JsonText& request) = nullptr;
  // What the provider says in a way of its own; kByStatus for everything else. May be null.
  Refusal (*classify)(int status, const dialects::WireError& error) = nullptr;

  std::string_view Path(Endpoint endpoint) const;
};

// What a refusal (a status of 400 or more) means: by the provider's own file, else by the codes and
// words that most share.
Refusal RefusalOf(const Quirks& quirks, int status, const dialects::WireError& error);

// The status that an error says which came with that of an answer: as a number, or in words that
// are clear; 0: none.
int StatusOf(const dialects::WireError& error);

// Brings the spellings that clients use to OpenAI's: drops what is meant for a router (`provider`,
// `models`) and empty `tools`, gives `tool_choice` its type, and reads every `response_format`.
void Normalize(dialects::JsonText& request);

// Says the bound of an answer by that name; of two that differ the least counts. Completions know
// max_tokens alone, everywhere. kBoth sends each as the other too, kOlderToo max_completion_tokens
// as max_tokens; kUnclear, as kAsSaid, changes no chat.
void NameBound(BoundName name, Endpoint endpoint, dialects::JsonText& request);

// Normalizes, translates, sets the model and asks for usage where that is needed. Returns the names
// of the fields that were taken out because the provider does not know them.
std::vector<std::string> PrepareRequest(const Quirks& quirks, Endpoint endpoint,
                                        std::string_view provider_model, bool is_stream,
                                        dialects::JsonText& request);

// For a request that is in the provider's form already: takes out what is meant for the router, and
// asks for usage where that is needed. The rest is the client's affair.
void PrepareOwnForm(const Quirks& quirks, bool is_stream, dialects::JsonText& request);

}  // namespace tradewind::providers
