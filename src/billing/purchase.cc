#include "billing/purchase.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <utility>

#include <fmt/format.h>

namespace tradewind::billing {
namespace {

constexpr char kSeparator = '\x1F';  // ASCII's own unit separator
constexpr std::array<std::string_view, 6> kSourceNames = {"provider", "metered", "bound",
                                                          "none",     "billed",  "operator"};

// Marks that share a number: of a purchase, and of an outcome.
constexpr int64_t kAskable = 1, kAskableByOurs = 2;
constexpr int64_t kOtherTier = 1, kTold = 2, kUnpricedWrites = 4;

// More than Metered ever writes: sums and differences of counts have room, whatever a text says.
constexpr int64_t kCountMax = 1'000'000'000'000'000;
constexpr int64_t kUnpostedMax = INT64_MAX / 2;

class Fields {
 public:
  Fields() { text_.reserve(kUsualBytes); }
  Fields& Put(std::string_view field) {
    if (count_++ > 0) {
      text_ += kSeparator;
    }
    const auto start = static_cast<std::ptrdiff_t>(text_.size());
    text_ += field;
    if (field.find(kSeparator) != std::string_view::npos) {
      std::replace(text_.begin() + start, text_.end(), kSeparator, ' ');
    }
    return *this;
  }
  Fields& Put(int64_t number) { return Put(std::string_view(std::to_string(number))); }
  std::string Take() { return std::move(text_); }

 private:
  static constexpr size_t kUsualBytes = 192;
  std::string text_;
  int count_ = 0;
};

class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}
  std::string_view Text() {
    const size_t end = std::min(rest_.find(kSeparator), rest_.size());
    const std::string_view field = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    return field;
  }
  int64_t Number() {
    const std::string_view field = Text();
    int64_t number = 0;
    std::from_chars(field.data(), field.data() + field.size(), number);
    return number;
  }
  int64_t Count() { return std::clamp<int64_t>(Number(), 0, kCountMax); }

 private:
  std::string_view rest_;
};

}  // namespace

std::string_view UsageSourceName(UsageSource source) {
  return kSourceNames[static_cast<size_t>(source)];
}

UsageSource UsageSourceFromName(std::string_view name) {
  const auto* found = std::ranges::find(kSourceNames, name);
  return found == kSourceNames.end() ? UsageSource::kBound
                                     : static_cast<UsageSource>(found - kSourceNames.begin());
}

std::string IncompleteReason(std::string_view field) {
  return fmt::format("incomplete: {} is billed apart from tokens", field);
}

std::string Encode(const Purchase& purchase) {
  Fields fields;
  fields.Put(purchase.org_id)
      .Put(purchase.project_id)
      .Put(purchase.key_id)
      .Put(purchase.user_id)
      .Put(purchase.model)
      .Put(purchase.provider)
      .Put(purchase.provider_model)
      .Put(int64_t{purchase.own_key})
      .Put(int64_t{purchase.priced})
      .Put(int64_t{purchase.degraded})
      .Put(int64_t{purchase.open_ended})
      .Put((purchase.askable ? kAskable : 0) | (purchase.askable_by_ours ? kAskableByOurs : 0));
  if (!purchase.billed_apart.empty()) {
    fields.Put(purchase.billed_apart);
  }
  return fields.Take();
}

Purchase DecodePurchase(std::string_view text) {
  Reader reader(text);
  Purchase purchase;
  for (std::string* field :
       {&purchase.org_id, &purchase.project_id, &purchase.key_id, &purchase.user_id,
        &purchase.model, &purchase.provider, &purchase.provider_model}) {
    *field = reader.Text();
  }
  purchase.own_key = reader.Number() != 0;
  purchase.priced = reader.Number() != 0;
  purchase.degraded = reader.Number() != 0;
  purchase.open_ended = reader.Number() != 0;
  const int64_t askable = reader.Number();
  purchase.askable = (askable & kAskable) != 0;
  purchase.askable_by_ours = (askable & kAskableByOurs) != 0;
  purchase.billed_apart = reader.Text();
  return purchase;
}

std::string Encode(const Outcome& outcome) {
  Fields fields;
  fields.Put(outcome.input_tokens)
      .Put(outcome.cached_tokens)
      .Put(outcome.output_tokens)
      .Put(outcome.reasoning_tokens)
      .Put(UsageSourceName(outcome.source))
      .Put(outcome.finish)
      .Put(outcome.cache_write_tokens.has_value() ? std::to_string(*outcome.cache_write_tokens)
                                                  : "");
  // Where there are none the text ends here, as it did before they were counted.
  const int64_t marks = (outcome.is_other_tier ? kOtherTier : 0) | (outcome.is_told ? kTold : 0) |
                        (outcome.has_unpriced_writes ? kUnpricedWrites : 0);
  const bool has_service = !outcome.service_tier.empty() || outcome.unposted != 0;
  const bool is_hidden = outcome.unverifiable_tokens != 0 || marks != 0 || has_service;
  const bool is_long = outcome.cache_write_1h_tokens != 0 || is_hidden;
  if (outcome.audio_input_tokens != 0 || outcome.audio_output_tokens != 0 || outcome.images != 0 ||
      outcome.is_beyond || is_long) {
    fields.Put(outcome.audio_input_tokens).Put(outcome.audio_output_tokens).Put(outcome.images);
    fields.Put(int64_t{outcome.is_beyond});
  }
  if (is_long) {
    fields.Put(outcome.cache_write_1h_tokens);
  }
  if (is_hidden) {
    fields.Put(outcome.unverifiable_tokens);
  }
  if (marks != 0 || has_service) {
    fields.Put(marks);
  }
  if (has_service) {
    fields.Put(outcome.service_tier);
  }
  if (outcome.unposted != 0) {
    fields.Put(outcome.unposted);
  }
  return fields.Take();
}

Outcome DecodeOutcome(std::string_view text) {
  Reader reader(text);
  Outcome outcome;
  for (int64_t* number : {&outcome.input_tokens, &outcome.cached_tokens, &outcome.output_tokens,
                          &outcome.reasoning_tokens}) {
    *number = reader.Count();
  }
  outcome.source = UsageSourceFromName(reader.Text());
  outcome.finish = reader.Text();
  if (const std::string_view written = reader.Text(); !written.empty()) {
    outcome.cache_write_tokens = Reader(written).Count();
  }
  for (int64_t* number :
       {&outcome.audio_input_tokens, &outcome.audio_output_tokens, &outcome.images}) {
    *number = reader.Count();
  }
  outcome.is_beyond = reader.Number() != 0;
  outcome.cache_write_1h_tokens = reader.Count();
  outcome.unverifiable_tokens = reader.Count();
  const int64_t marks = reader.Number();
  outcome.is_other_tier = (marks & kOtherTier) != 0;
  outcome.is_told = (marks & kTold) != 0;
  outcome.has_unpriced_writes = (marks & kUnpricedWrites) != 0;
  outcome.service_tier = reader.Text();
  outcome.unposted = std::clamp<int64_t>(reader.Number(), 0, kUnpostedMax);
  return outcome;
}

}  // namespace tradewind::billing
