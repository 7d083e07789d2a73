#include "alerts/message.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "billing/usd.h"
#include "dialects/json_writer.h"

namespace tradewind::alerts {
namespace {

// When, and by whom; null: not yet.
void PutAcknowledged(dialects::JsonWriter& json, std::string_view prefix, int64_t at_ns,
                     const std::string& by) {
  json.Key(fmt::format("{}acknowledged_at", prefix));
  at_ns == 0 ? json.Null() : json.Value(TimeText(at_ns));
  json.Key(fmt::format("{}acknowledged_by", prefix));
  by.empty() ? json.Null() : json.Value(by);
}

std::string OneLine(std::string_view text) {
  std::string out(text);
  std::ranges::replace_if(
      out, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  return out;
}

}  // namespace

std::string TimeText(int64_t unix_ns) {
  return fmt::format("{:%FT%TZ}", fmt::gmtime(static_cast<std::time_t>(unix_ns / 1'000'000'000)));
}

std::string JsonOf(const Alert& alert, Detail detail) {
  dialects::JsonWriter json;
  json.BeginObject().Field("schema", "tradewind.alert/v1").Field("id", alert.id);
  json.Field("kind", KindName(alert.kind)).Field("scope", alert.scope);
  json.Key("org");
  alert.org_id.empty() ? json.Null() : json.Value(alert.org_id);
  json.Field("raised_at", TimeText(alert.raised_ns));
  json.Field("amount_nanousd", std::to_string(alert.amount)).Field("text", alert.text);
  PutAcknowledged(json, "", alert.acknowledged_ns, alert.acknowledged_by);
  if (detail == Detail::kDeliveries) {
    PutAcknowledged(json, "org_", alert.org_acknowledged_ns, alert.org_acknowledged_by);
    json.Key("deliveries").BeginObject();
    for (const Channel channel : {Channel::kWebhook, Channel::kCommand}) {
      const Sent& sent = alert.sent[static_cast<size_t>(channel)];
      json.Key(ChannelName(channel)).BeginObject().Field("state", DeliveryName(sent.state));
      json.Field("tries", sent.tries).EndObject();
    }
    json.EndObject().Field("trouble", alert.trouble);
  }
  json.EndObject();
  return json.Take();
}

std::string Sign(std::string_view secret, std::string_view timestamp, std::string_view body) {
  const std::string text = fmt::format("{}.{}", timestamp, body);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  ::HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
         reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &size);
  std::string out = "v1=";
  for (unsigned i = 0; i < size; ++i) {
    out += fmt::format("{:02x}", digest[i]);
  }
  return out;
}

std::string MailOf(const Alert& alert) {
  const std::string text = OneLine(alert.text);
  return fmt::format(
      "Subject: Tradewind: {}\n"
      "Content-Type: text/plain; charset=utf-8\n"
      "\n"
      "{}\n"
      "\n"
      "kind    {}\n"
      "scope   {}\n"
      "amount  {}\n"
      "raised  {}\n"
      "\n"
      "Acknowledge it with: tradewind alerts ack {}\n",
      text, text, KindName(alert.kind), OneLine(alert.scope), billing::FormatUsd(alert.amount),
      TimeText(alert.raised_ns), alert.id);
}

}  // namespace tradewind::alerts
