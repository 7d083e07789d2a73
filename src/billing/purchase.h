// What a hold buys and how it ended, as the texts of the ledger's records: the ledger carries them
// and does not read them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tradewind::billing {

struct Purchase {
  std::string org_id, project_id, key_id, user_id;
  std::string model;           // the Hub id
  std::string provider;        // slug
  std::string provider_model;  // the provider's id
  bool own_key = false;        // paid by the caller's own account at the provider
  bool priced = true;          // false: what it costs is not known, which is not zero
  bool degraded = false;       // no budget had room, and this device answers instead
  // No hard bound was held, so nobody looked whether what was sent bounds it: what it costs beyond
  // its hold says nothing about the route.
  bool open_ended = false;
  bool askable = false;  // the provider says later what single requests cost, by its own ids
  bool askable_by_ours = false;  // and by what we call an attempt; no column keeps it
  // A field of the request that is billed apart from tokens: what it is settled at leaves that out.
  std::string billed_apart = {};

  bool operator==(const Purchase&) const = default;
};

// Where the token counts come from, best first.
enum class UsageSource : uint8_t {
  kProvider,  // the provider said it
  kMetered,   // counted here from what was delivered, and rounded up
  kBound,     // the worst case that was held
  kNone,      // nothing was used
  kBilled,    // the provider's billing named the cost; the counts are what it had said, or none
  kOperator,  // an operator named it; likewise
};
std::string_view UsageSourceName(UsageSource source);
UsageSource UsageSourceFromName(std::string_view name);  // unknown: kBound

struct Outcome {
  int64_t input_tokens = 0, cached_tokens = 0, output_tokens = 0, reasoning_tokens = 0;
  UsageSource source = UsageSource::kNone;
  std::string finish;                                       // the finish reason, or what went wrong
  std::optional<int64_t> cache_write_tokens = {};           // nullopt: nobody said
  int64_t audio_input_tokens = 0, audio_output_tokens = 0;  // of the input and of the output
  int64_t images = 0;                                       // in the request
  int64_t cache_write_1h_tokens = 0;                        // of `cache_write_tokens`
  // More tokens than the request and its bounds allow, or than bytes came.
  bool is_beyond = false;
  // Of the output, as bills show them: thoughts that the provider alone can count. Those of records
  // from before bills had a column for them are in `reasoning_tokens` only: what was billed then
  // stays as it was.
  int64_t unverifiable_tokens = 0;

  bool is_other_tier = false;  // the answer's service tier has other prices than those of its cost
  // Some of the input was written to the provider's cache, and its price has none of that: it
  // costs what other input does.
  bool has_unpriced_writes = false;
  std::string service_tier = {};  // whose prices its cost has; "" = the usual ones
  bool is_told = false;           // the provider said the cost itself, which is all of it
  // In nano-USD, of the provider's bill: beyond what the books take of one attempt.
  int64_t unposted = 0;

  bool operator==(const Outcome&) const = default;
};

// Of a row whose cost by tokens leaves something out: the field, or what it stands for.
std::string IncompleteReason(std::string_view field);
inline constexpr std::string_view kUnpricedWritesName = "cache_write";

// Bytes that separate fields are replaced in them by spaces; a text that is none has all fields
// empty.
std::string Encode(const Purchase& purchase);
Purchase DecodePurchase(std::string_view text);
std::string Encode(const Outcome& outcome);
Outcome DecodeOutcome(std::string_view text);

}  // namespace tradewind::billing
