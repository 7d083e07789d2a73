// Metrics in the Prometheus text format 0.0.4. Updating one costs an atomic addition; finding one
// takes a mutex, so keep the reference where that matters.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tradewind::telemetry {

class Counter {
 public:
  void Increment(uint64_t by = 1) { value_.fetch_add(by, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

class Gauge {
 public:
  void Set(double value) { value_.store(value, std::memory_order_relaxed); }
  void Add(double by) { value_.fetch_add(by, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

// Cumulative buckets by upper bound, as Prometheus has them.
class Histogram {
 public:
  explicit Histogram(std::vector<double> upper_bounds);  // rising; +Inf is added
  void Observe(double value);
  uint64_t count() const;
  double sum() const { return sum_.load(std::memory_order_relaxed); }
  const std::vector<double>& upper_bounds() const { return upper_bounds_; }
  uint64_t bucket(size_t index) const {
    return buckets_[index].load(std::memory_order_relaxed);
  }  // not cumulative

 private:
  std::vector<double> upper_bounds_;
  std::vector<std::atomic<uint64_t>> buckets_;  // one more than upper_bounds_
  std::atomic<double> sum_{0};
};

// 5 ms to 10 minutes: from a cached prefill to a long answer of a small machine.
std::span<const double> SecondsBuckets();

// Names and values, read during the call only: {{"model", id}, {"provider", slug}}.
using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

// Owns all metrics; thread-safe; references stay valid as long as it lives. Names and label names
// are ours: a bad one, or one name used for two types, trips a check. Label values may come from
// outside: a family that has reached limits::kMetricSeriesMax series gives every further one the
// shared series whose values are all "other".
class Registry {
 public:
  Registry();
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // Finds the series or makes it. `help` and `upper_bounds` count on the family's first call.
  Counter& GetCounter(std::string_view name, std::string_view help, const Labels& labels = {});
  Gauge& GetGauge(std::string_view name, std::string_view help, const Labels& labels = {});
  Histogram& GetHistogram(std::string_view name, std::string_view help,
                          std::span<const double> upper_bounds, const Labels& labels = {});
  // A gauge that is read when the text is made. `read` is called on any thread, must not call the
  // registry, and what it refers to must outlive the last Text().
  void AddGaugeCallback(std::string_view name, std::string_view help, std::function<double()> read,
                        const Labels& labels = {});

  std::string Text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

inline constexpr std::string_view kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

}  // namespace tradewind::telemetry
