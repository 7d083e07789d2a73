// Counts the texts of providers' answers once more, by the models' own tokenizers, where a file of
// the model is on this device: behind the answers, on a thread of its own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/result.h"
#include "catalog/local_models.h"

namespace tradewind::gateway {

// Tokens of a text; nothing of what a model puts around it. On any one thread.
using CountTokens = std::function<int64_t(std::string_view text)>;
// Of a model file, without its weights.
using LoadCounter = std::function<Result<CountTokens>(const std::filesystem::path& path)>;

// An answer all of whose visible text is known.
struct CountedAnswer {
  std::string provider, model;
  std::string text;
  bool is_body = false;  // `text` is the answer's body: JSON that has the text in it
  int64_t told = 0;      // tokens, without thoughts, as the provider counts them
};

struct Recount {
  std::string provider, model;
  int64_t told = 0;     // by the provider
  int64_t counted = 0;  // here, at most
};

// Thread-safe.
class Recounter {
 public:
  using Take = std::function<void(const Recount& recount)>;  // on its thread
  Recounter(std::shared_ptr<const catalog::LocalModels> models, LoadCounter load, Take take);
  ~Recounter();  // what still waits is not counted
  Recounter(const Recounter&) = delete;
  Recounter& operator=(const Recounter&) = delete;

  // A file of this model is here.
  bool has(std::string_view model) const;
  // Never waits: what is too much at a time is not counted.
  void Count(CountedAnswer answer);

 private:
  void Run();
  void CountOne(const CountedAnswer& answer);

  const std::shared_ptr<const catalog::LocalModels> models_;
  const LoadCounter load_;
  const Take take_;
  std::map<std::string, CountTokens, std::less<>> counters_;  // of its thread; null: has none

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<CountedAnswer> waiting_;
  bool stopping_ = false;

  std::thread thread_;  // the last: uses all of the above
};

}  // namespace tradewind::gateway
