#include "telemetry/metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <mutex>
#include <unordered_map>

#include <fmt/format.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/utf8.h"

namespace tradewind::telemetry {
namespace {

enum class Type { kCounter, kGauge, kHistogram };

struct Series {
  std::unique_ptr<Counter> counter;
  std::unique_ptr<Gauge> gauge;
  std::unique_ptr<Histogram> histogram;
  std::function<double()> read;
};

struct Family {
  Type type = Type::kCounter;
  std::string help;
  std::vector<double> upper_bounds;
  std::map<std::string, Series>
      series;  // by the text of the labels, which is also the order of the output
};

bool IsMetricName(std::string_view name, bool label) {
  const auto fits = [label](char c, bool first) {
    const bool letter =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c == ':' && !label);
    return letter || (!first && c >= '0' && c <= '9');
  };
  if (name.empty() || !fits(name[0], true)) {
    return false;
  }
  return std::ranges::all_of(name, [&](char c) { return fits(c, false); });
}

// Backslashes and line breaks, and in label values quotes too.
std::string Escape(std::string_view text, bool quotes) {
  std::string out;
  for (const char c : ReplaceInvalidUtf8(text)) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\\' || (c == '"' && quotes)) {
      out += '\\';
    }
    out += c;
  }
  return out;
}

// a="1",b="2"
std::string LabelText(const Labels& labels) {
  std::string text;
  for (const auto& [name, value] : labels) {
    text += fmt::format("{}{}=\"{}\"", text.empty() ? "" : ",", name, Escape(value, true));
  }
  return text;
}

// The same with "other" for every value.
std::string OtherText(const Labels& labels) {
  std::string text;
  for (const auto& label : labels) {
    text += fmt::format("{}{}=\"other\"", text.empty() ? "" : ",", label.first);
  }
  return text;
}

std::string Number(double value) {
  if (std::isnan(value)) {
    return "NaN";
  }
  if (std::isinf(value)) {
    return value > 0 ? "+Inf" : "-Inf";
  }
  return fmt::format("{}", value);
}

std::string Braced(std::string_view labels) {
  return labels.empty() ? "" : fmt::format("{{{}}}", labels);
}

void AppendHistogram(std::string_view name, std::string_view labels, const Histogram& histogram,
                     std::string& out) {
  uint64_t cumulative = 0;
  const std::string_view comma = labels.empty() ? "" : ",";
  for (size_t i = 0; i <= histogram.upper_bounds().size(); ++i) {
    cumulative += histogram.bucket(i);
    const bool last = i == histogram.upper_bounds().size();
    out += fmt::format("{}_bucket{{{}{}le=\"{}\"}} {}\n", name, labels, comma,
                       last ? "+Inf" : Number(histogram.upper_bounds()[i]), cumulative);
  }
  // The last cumulative value, not a second reading: the two must agree in one text.
  out += fmt::format("{}_sum{} {}\n", name, Braced(labels), Number(histogram.sum()));
  out += fmt::format("{}_count{} {}\n", name, Braced(labels), cumulative);
}

std::string_view TypeName(Type type) {
  switch (type) {
    case Type::kCounter:
      return "counter";
    case Type::kGauge:
      return "gauge";
    case Type::kHistogram:
      return "histogram";
  }
  return "untyped";
}

// A text that is equal for two only when all parts are: cheaper to make than the checked and
// escaped one that a series is stored under.
void SetLookupKey(Type type, std::string_view name, const Labels& labels, std::string& out) {
  const auto add = [&out](std::string_view part) {
    const size_t size = part.size();
    out.append(reinterpret_cast<const char*>(&size), sizeof(size)).append(part);
  };
  out.assign(1, static_cast<char>(type));
  add(name);
  for (const auto& [label, value] : labels) {
    add(label);
    add(value);
  }
}

}  // namespace

Histogram::Histogram(std::vector<double> upper_bounds)
    : upper_bounds_(std::move(upper_bounds)), buckets_(upper_bounds_.size() + 1) {
  TW_CHECK(std::ranges::is_sorted(upper_bounds_));
}

void Histogram::Observe(double value) {
  const auto at = std::ranges::lower_bound(upper_bounds_, value) - upper_bounds_.begin();
  buckets_[static_cast<size_t>(at)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

uint64_t Histogram::count() const {
  uint64_t total = 0;
  for (const auto& bucket : buckets_) {
    total += bucket.load(std::memory_order_relaxed);
  }
  return total;
}

std::span<const double> SecondsBuckets() {
  static constexpr std::array<double, 16> kBounds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                                     2.5,   5,    10,    30,   60,  120,  300, 600};
  return kBounds;
}

struct Registry::Impl {
  mutable std::mutex mutex;
  std::map<std::string, Family, std::less<>> families;
  // The first kMetricSeriesMax series that were looked for, by SetLookupKey: requests look for the
  // same few again and again.
  std::unordered_map<std::string, Series*> known;
  std::string lookup_key;

  // The caller holds the mutex. `upper_bounds` are those of a new family of histograms.
  Series& Find(std::string_view name, std::string_view help, Type type, const Labels& labels,
               std::span<const double> upper_bounds = {}) {
    SetLookupKey(type, name, labels, lookup_key);
    if (const auto at = known.find(lookup_key); at != known.end()) {
      return *at->second;
    }
    Family& family = FindFamily(name, help, type);
    if (family.series.empty()) {
      family.upper_bounds.assign(upper_bounds.begin(), upper_bounds.end());
    }
    Series& series = FindSeries(family, labels);
    if (series.histogram == nullptr && type == Type::kHistogram) {
      series.histogram = std::make_unique<Histogram>(family.upper_bounds);
    }
    if (known.size() < limits::kMetricSeriesMax) {
      known.emplace(lookup_key, &series);
    }
    return series;
  }

  Family& FindFamily(std::string_view name, std::string_view help, Type type) {
    TW_CHECK(IsMetricName(name, false));
    auto at = families.find(name);
    if (at == families.end()) {
      at = families.try_emplace(std::string(name)).first;
      at->second.type = type;
      at->second.help = help;
    }
    TW_CHECK(at->second.type == type);
    return at->second;
  }

  static Series& FindSeries(Family& family, const Labels& labels) {
    for (const auto& [name, value] : labels) {
      TW_CHECK(IsMetricName(name, true));
    }
    std::string text = LabelText(labels);
    const auto at = family.series.find(text);
    if (at != family.series.end()) {
      return at->second;
    }
    if (family.series.size() >= limits::kMetricSeriesMax) {
      text = OtherText(labels);
    }
    return family.series[text];
  }
};

Registry::Registry() : impl_(std::make_unique<Impl>()) {}
Registry::~Registry() = default;

Counter& Registry::GetCounter(std::string_view name, std::string_view help, const Labels& labels) {
  const std::lock_guard lock(impl_->mutex);
  Series& series = impl_->Find(name, help, Type::kCounter, labels);
  if (series.counter == nullptr) {
    series.counter = std::make_unique<Counter>();
  }
  return *series.counter;
}

Gauge& Registry::GetGauge(std::string_view name, std::string_view help, const Labels& labels) {
  const std::lock_guard lock(impl_->mutex);
  Series& series = impl_->Find(name, help, Type::kGauge, labels);
  if (series.gauge == nullptr) {
    series.gauge = std::make_unique<Gauge>();
  }
  return *series.gauge;
}

Histogram& Registry::GetHistogram(std::string_view name, std::string_view help,
                                  std::span<const double> upper_bounds, const Labels& labels) {
  const std::lock_guard lock(impl_->mutex);
  Series& series = impl_->Find(name, help, Type::kHistogram, labels, upper_bounds);
  return *series.histogram;
}

void Registry::AddGaugeCallback(std::string_view name, std::string_view help,
                                std::function<double()> read, const Labels& labels) {
  const std::lock_guard lock(impl_->mutex);
  impl_->Find(name, help, Type::kGauge, labels).read = std::move(read);
}

std::string Registry::Text() const {
  const std::lock_guard lock(impl_->mutex);
  std::string out;
  for (const auto& [name, family] : impl_->families) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, Escape(family.help, false), name,
                       TypeName(family.type));
    for (const auto& [labels, series] : family.series) {
      if (series.histogram != nullptr) {
        AppendHistogram(name, labels, *series.histogram, out);
      } else if (series.counter != nullptr) {
        out += fmt::format("{}{} {}\n", name, Braced(labels), series.counter->value());
      } else {
        const double value = series.read ? series.read() : series.gauge->value();
        out += fmt::format("{}{} {}\n", name, Braced(labels), Number(value));
      }
    }
  }
  return out;
}

}  // namespace tradewind::telemetry
