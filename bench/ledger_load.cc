// What money costs a request, without a gateway around it: for ledger_cost.py. Each request is a
// Meter::Begin with its Sent, and an End, in a key's, a project's and an organisation's budget, on
// the journal of a real disk with its flush and its recorder running behind.
//
//   ledger_load --home FOLDER --mode pairs|pace|strict|record [--requests N] [--rate R]
//
// pairs   CPU time of the calling thread for each request, as fast as it goes
// pace    open-loop at R requests/s: what each adds, from when it was due or begun, the later one
// strict  the same, each request waiting for its own record to be on the disk
// record  as fast as it goes, until all of it is in SQLite: recorded requests/s
//
// Prints one JSON object.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/check.h"
#include "billing/books.h"

namespace {

using Clock = std::chrono::steady_clock;
namespace billing = tradewind::billing;
namespace ledger = tradewind::ledger;

struct Options {
  std::filesystem::path home;
  std::string mode = "pairs";
  int64_t requests = 100'000;
  int64_t rate = 2000;
};

[[noreturn]] void Usage() {
  std::fprintf(
      stderr,
      "usage: ledger_load --home FOLDER --mode pairs|pace|strict|record [--requests N] [--rate R]\n");
  std::exit(2);
}

Options Read(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view flag = argv[i];
    if (flag == "--home") {
      options.home = argv[i + 1];
    } else if (flag == "--mode") {
      options.mode = argv[i + 1];
    } else if (flag == "--requests") {
      options.requests = std::atoll(argv[i + 1]);
    } else if (flag == "--rate") {
      options.rate = std::atoll(argv[i + 1]);
    } else {
      Usage();
    }
  }
  if (options.home.empty() || options.requests < 1 || options.rate < 1) {
    Usage();
  }
  return options;
}

double ThreadCpuS() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class World {
 public:
  explicit World(const std::filesystem::path& home) {
    auto opened = billing::Books::Open(home);
    if (!opened.has_value()) {
      std::fprintf(stderr, "ledger_load: %s\n", opened.error().message.c_str());
      std::exit(1);
    }
    books_ = std::move(*opened);
    for (const char* name : {"key:key_1", "project:prj_1", "org:org_1"}) {
      TW_CHECK(books_->ledger()
                   .Define({.name = name,
                            .limit = ledger::kAmountMax,
                            .period = ledger::Period::kMonth,
                            .zone = "Europe/Berlin"})
                   .has_value());
    }
    prices_.input = tradewind::Decimal::Parse("0.10").value();
    prices_.output = tradewind::Decimal::Parse("0.30").value();
    first_ = static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch() /
                                   std::chrono::milliseconds(1));
  }

  void Request(bool is_strict = false) {
    billing::Offer offer;
    offer.id = {{first_ << 16, ++ids_}, 1};
    offer.purchase = {"org_1", "prj_1", "key_1", "usr_1", "org/model", "site-a", "model-x"};
    offer.prices = &prices_;
    offer.input_tokens_max = 1000;
    offer.output_tokens_max = 500;
    offer.is_strict = is_strict;
    auto metered = books_->meter().Begin(std::move(offer), ledger::Send::kNow);
    TW_CHECK(metered.has_value());
    if (const uint64_t seq = metered->goes_out_after(); seq > 0) {
      ++waits_;
      std::atomic<bool> is_told = false;
      books_->meter().WhenDurable(seq, [&](bool is_durable) {
        TW_CHECK(is_durable);
        is_told = true;
        is_told.notify_one();
      });
      is_told.wait(false);
    }
    billing::Ended ended;
    ended.is_complete = true;
    ended.usage = tradewind::chat::Usage{.input_tokens = 800, .output_tokens = 120};
    ended.finish = "stop";
    TW_CHECK(metered->End(ended).has_value());
  }

  billing::Books& books() { return *books_; }
  int64_t waits() const { return waits_; }  // for the disk

 private:
  std::unique_ptr<billing::Books> books_;
  tradewind::catalog::Prices prices_;
  uint64_t first_ = 0, ids_ = 0;
  int64_t waits_ = 0;
};

void Pairs(World& world, const Options& options) {
  const double cpu = ThreadCpuS();
  const auto start = Clock::now();
  for (int64_t i = 0; i < options.requests; ++i) {
    world.Request();
  }
  std::printf("{\"mode\": \"pairs\", \"requests\": %lld, \"cpu_us\": %.3f, \"wall_us\": %.3f}\n",
              static_cast<long long>(options.requests),
              (ThreadCpuS() - cpu) * 1e6 / static_cast<double>(options.requests),
              SecondsSince(start) * 1e6 / static_cast<double>(options.requests));
}

// `is_strict`: each request waits for its own record.
void Pace(World& world, const Options& options, bool is_strict) {
  std::vector<double> added_us;
  added_us.reserve(static_cast<size_t>(options.requests));
  const auto start = Clock::now();
  const auto step = std::chrono::nanoseconds(1'000'000'000 / options.rate);
  for (int64_t i = 0; i < options.requests; ++i) {
    const auto due = start + i * step;
    while (Clock::now() < due) {
      std::this_thread::sleep_until(due);
    }
    // A thread that wakes up late is not the ledger's doing; one that was kept by the request
    // before is.
    const auto begun = i > 0 && Clock::now() - due > step ? due : Clock::now();
    world.Request(is_strict);
    added_us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begun).count());
  }
  std::ranges::sort(added_us);
  const auto at = [&](double share) {
    return added_us[std::min(added_us.size() - 1,
                             static_cast<size_t>(share * static_cast<double>(added_us.size())))];
  };
  std::printf(
      "{\"mode\": \"%s\", \"requests\": %lld, \"rate\": %lld, \"p50_us\": %.1f, \"p99_us\": %.1f, "
      "\"p999_us\": %.1f, \"max_us\": %.1f, \"waits\": %lld}\n",
      is_strict ? "strict" : "pace", static_cast<long long>(options.requests),
      static_cast<long long>(options.rate), at(0.5), at(0.99), at(0.999), added_us.back(),
      static_cast<long long>(world.waits()));
}

// A closed loop that waits for room in the journal, as a gateway under such a load would refuse.
void RecordAll(World& world, const Options& options) {
  constexpr uint64_t kAheadMax = 200'000;  // records; a segment has twice as many
  const auto start = Clock::now();
  for (int64_t i = 0; i < options.requests; ++i) {
    world.Request();
    if (i % 1000 == 0 && world.books().ledger().seq() > kAheadMax) {
      while (world.books().recorder().behind() > kAheadMax) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  }
  TW_CHECK(world.books().recorder().CatchUp().has_value());
  const double seconds = SecondsSince(start);
  std::printf("{\"mode\": \"record\", \"requests\": %lld, \"recorded_per_s\": %.0f}\n",
              static_cast<long long>(options.requests),
              static_cast<double>(options.requests) / seconds);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = Read(argc, argv);
  World world(options.home);
  if (options.mode == "pairs") {
    Pairs(world, options);
  } else if (options.mode == "pace" || options.mode == "strict") {
    Pace(world, options, options.mode == "strict");
  } else if (options.mode == "record") {
    RecordAll(world, options);
  } else {
    Usage();
  }
  return 0;
}
