#include "dialects/answer_writer.h"

#include <algorithm>
#include <cmath>

namespace tradewind::dialects {
namespace {

// Microseconds are the finest that a receipt needs; a shorter number reads better.
double Rounded(double value) {
  return std::round(value * 1000) / 1000;
}

}  // namespace

std::string_view FinishReasonName(chat::FinishReason reason) {
  switch (reason) {
    case chat::FinishReason::kStop:
      return "stop";
    case chat::FinishReason::kLength:
      return "length";
    case chat::FinishReason::kError:
      return "error";
  }
  return "error";
}

void WriteUsage(const chat::Usage& usage, JsonWriter& json) {
  json.BeginObject()
      .Field("prompt_tokens", usage.input_tokens)
      .Field("completion_tokens", usage.output_tokens)
      .Field("total_tokens", usage.input_tokens + usage.output_tokens)
      .Key("prompt_tokens_details")
      .BeginObject()
      .Field("cached_tokens", usage.cached_tokens)
      .EndObject()
      .EndObject();
}

void WriteReceipt(const AnswerHead& head, const chat::Usage& usage, const chat::Receipt& receipt,
                  int choices, JsonWriter& json) {
  json.BeginObject().Key("cost_nanousd");
  if (head.cost_is_known) {
    json.Value(std::to_string(receipt.cost_nanousd));
  } else {
    json.Null();
  }
  json.Field("queue_ms", Rounded(receipt.queue_ms))
      .Field("prefill_ms", Rounded(receipt.prefill_ms))
      .Field("decode_ms", Rounded(receipt.decode_ms))
      .Key("output_tokens_per_s");
  const int64_t after_first = usage.output_tokens - choices;
  if (after_first > 0 && receipt.decode_ms > 0) {
    json.Value(Rounded(static_cast<double>(after_first) * 1000 / receipt.decode_ms));
  } else {
    json.Null();
  }
  if (!head.route.empty()) {
    json.Field("provider", head.provider).Field("route", head.route);
  }
  json.EndObject();
}

double FiniteLogprob(double logprob) {
  return std::isfinite(logprob) ? std::max(logprob, -9999.0) : -9999.0;
}

}  // namespace tradewind::dialects
