#include "gateway/recounter.h"

#include <optional>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/limits.h"
#include "base/thread_name.h"
#include "dialects/json_reader.h"
#include "telemetry/log.h"

namespace tradewind::gateway {
namespace {

namespace json = boost::json;

// The end of a turn, or a stop string, is counted by providers and stands in no text.
constexpr int64_t kUnseenTokens = 2;

bool IsNothing(const json::value* value) {
  return value == nullptr || value->is_null() ||
         (value->is_string() && value->get_string().empty()) ||
         (value->is_array() && value->get_array().empty());
}

// The text of a body with one answer that is all text.
std::optional<std::string> TextOf(std::string_view body) {
  const auto root = dialects::ParseJson(body);
  if (!root.has_value()) {
    return std::nullopt;
  }
  boost::system::error_code missing;
  const json::value* text = root->find_pointer("/choices/0/text", missing);
  const json::value* message = root->find_pointer("/choices/0/message", missing);
  if (message != nullptr && message->is_object()) {
    for (const char* other :
         {"reasoning_content", "reasoning", "refusal", "tool_calls", "function_call", "audio"}) {
      if (!IsNothing(message->get_object().if_contains(other))) {
        return std::nullopt;
      }
    }
    text = message->get_object().if_contains("content");
  }
  return text != nullptr && text->is_string() ? std::optional(std::string(text->get_string()))
                                              : std::nullopt;
}

}  // namespace

Recounter::Recounter(std::shared_ptr<const catalog::LocalModels> models, LoadCounter load,
                     Take take)
    : models_(std::move(models)),
      load_(std::move(load)),
      take_(std::move(take)),
      thread_([this] { Run(); }) {}

Recounter::~Recounter() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

bool Recounter::has(std::string_view model) const {
  const catalog::LocalModel* found = models_->Find(model);
  return found != nullptr && !found->error.has_value();
}

void Recounter::Count(CountedAnswer answer) {
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= limits::kRecountsWaitingMax ||
        answer.text.size() > limits::kRecountedBytesMax) {
      return;
    }
    waiting_.push_back(std::move(answer));
  }
  changed_.notify_one();
}

void Recounter::Run() {
  NameThread("recounter");
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) {
      return;
    }
    const CountedAnswer answer = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    try {
      CountOne(answer);
    } catch (const std::exception& thrown) {
      // A count that is missed is no reason to end what serves.
      telemetry::Log(telemetry::Level::kWarn, fmt::format("an answer of {} was not counted: {}",
                                                          answer.model, thrown.what()));
    }
    lock.lock();
  }
}

void Recounter::CountOne(const CountedAnswer& answer) {
  auto counter = counters_.find(answer.model);
  if (counter == counters_.end()) {
    const catalog::LocalModel* model = models_->Find(answer.model);
    if (model == nullptr || counters_.size() >= limits::kRecountedModelsMax) {
      return;
    }
    Result<CountTokens> loaded = load_(model->path);
    if (!loaded.has_value()) {
      telemetry::Log(telemetry::Level::kWarn, fmt::format("answers of {} are not counted here: {}",
                                                          answer.model, loaded.error().message));
    }
    counter = counters_.emplace(answer.model, std::move(loaded).value_or(nullptr)).first;
  }
  const std::optional<std::string> text =
      answer.is_body ? TextOf(answer.text) : std::optional(answer.text);
  if (counter->second != nullptr && text.has_value() && !text->empty()) {
    take_({answer.provider, answer.model, answer.told, counter->second(*text) + kUnseenTokens});
  }
}

}  // namespace tradewind::gateway
