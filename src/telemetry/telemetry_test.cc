#include <array>
#include <limits>
#include <set>
#include <sstream>
#include <thread>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/limits.h"
#include "telemetry/access_log.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"
#include "testing/temp_dir.h"

namespace tradewind::telemetry {
namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;

TEST(Metrics, TextHasHelpTypeAndValues) {
  Registry registry;
  registry.GetCounter("tw_requests_total", "Requests.", {{"code", "200"}}).Increment(3);
  registry.GetCounter("tw_requests_total", "Requests.", {{"code", "400"}}).Increment();
  registry.GetGauge("tw_slots", "Busy slots.").Set(1.5);
  EXPECT_EQ(registry.Text(),
            "# HELP tw_requests_total Requests.\n"
            "# TYPE tw_requests_total counter\n"
            "tw_requests_total{code=\"200\"} 3\n"
            "tw_requests_total{code=\"400\"} 1\n"
            "# HELP tw_slots Busy slots.\n"
            "# TYPE tw_slots gauge\n"
            "tw_slots 1.5\n");
}

TEST(Metrics, SameNameAndLabelsAreTheSameSeries) {
  Registry registry;
  EXPECT_EQ(&registry.GetCounter("a_total", "A."), &registry.GetCounter("a_total", "A."));
}

TEST(Metrics, HistogramBucketsAreCumulativeAndIncludeTheirUpperBound) {
  Registry registry;
  Histogram& histogram =
      registry.GetHistogram("ttft_seconds", "TTFT.", std::array{0.1, 1.0}, {{"model", "m"}});
  histogram.Observe(0.1);
  histogram.Observe(0.5);
  histogram.Observe(7);
  EXPECT_EQ(histogram.count(), 3u);
  EXPECT_EQ(registry.Text(),
            "# HELP ttft_seconds TTFT.\n"
            "# TYPE ttft_seconds histogram\n"
            "ttft_seconds_bucket{model=\"m\",le=\"0.1\"} 1\n"
            "ttft_seconds_bucket{model=\"m\",le=\"1\"} 2\n"
            "ttft_seconds_bucket{model=\"m\",le=\"+Inf\"} 3\n"
            "ttft_seconds_sum{model=\"m\"} 7.6\n"
            "ttft_seconds_count{model=\"m\"} 3\n");
}

TEST(Metrics, LabelValuesFromOutsideAreEscaped) {
  Registry registry;
  registry.GetGauge("g", "Line\nbreak \\ \"q\".", {{"model", "a\"b\\c\nd\xFF"}}).Set(1);
  EXPECT_EQ(registry.Text(),
            "# HELP g Line\\nbreak \\\\ \"q\".\n"
            "# TYPE g gauge\n"
            "g{model=\"a\\\"b\\\\c\\nd\xEF\xBF\xBD\"} 1\n");
}

TEST(Metrics, ManyLabelValuesShareOneSeriesAtTheBound) {
  Registry registry;
  for (size_t i = 0; i < limits::kMetricSeriesMax + 50; ++i) {
    registry.GetCounter("c_total", "C.", {{"model", std::to_string(i)}}).Increment();
  }
  EXPECT_EQ(registry.GetCounter("c_total", "C.", {{"model", "new"}}).value(), 50u);
  EXPECT_NE(registry.Text().find("c_total{model=\"other\"} 50\n"), std::string::npos);
}

TEST(Metrics, SeriesAreToldApartByEachPartOfTheirLabels) {
  Registry registry;
  for (int i = 0; i < 3; ++i) {
    registry.GetCounter("c_total", "C.", {{"a", "1"}, {"b", "2"}}).Increment();
    registry.GetCounter("c_total", "C.", {{"a", "12"}, {"b", ""}}).Increment(10);
    registry.GetCounter("c_total", "C.", {{"a", "1"}}).Increment(100);
    registry.GetCounter("d_total", "D.", {{"a", "1"}}).Increment(1000);
  }
  const std::string text = registry.Text();
  for (const char* line : {"c_total{a=\"1\",b=\"2\"} 3\n", "c_total{a=\"12\",b=\"\"} 30\n",
                           "c_total{a=\"1\"} 300\n", "d_total{a=\"1\"} 3000\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
}

TEST(Metrics, CallbackGaugesAreReadWhenTheTextIsMade) {
  Registry registry;
  double value = 1;
  registry.AddGaugeCallback("live", "Live.", [&value] { return value; });
  value = std::numeric_limits<double>::infinity();
  EXPECT_NE(registry.Text().find("live +Inf\n"), std::string::npos);
}

TEST(Metrics, CountsExactlyUnderManyThreads) {
  Registry registry;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&registry] {
        for (int i = 0; i < 1000; ++i) {
          registry.GetCounter("n_total", "N.").Increment();
          registry.GetHistogram("h", "H.", std::array{1.0}).Observe(1);
          if (i % 100 == 0) {
            EXPECT_FALSE(registry.Text().empty());
          }
        }
      });
    }
  }
  EXPECT_EQ(registry.GetCounter("n_total", "N.").value(), 4000u);
  EXPECT_EQ(registry.GetHistogram("h", "H.", {}).sum(), 4000.0);
}

TEST(AccessLog, RecordIsOneJsonLineInUtc) {
  AccessRecord record;
  record.request_id = "req-1";
  record.method = "POST";
  record.path = "/v1/chat/completions";
  record.status = 200;
  record.duration_ms = 12.3456;
  record.ttft_ms = 3.0;
  record.model = "org/name";
  record.input_tokens = 7;
  record.cached_tokens = 5;
  record.output_tokens = 9;
  record.bytes_sent = 100;
  record.receipt = "0123";
  record.outcome = "stop";
  EXPECT_EQ(
      FormatAccessRecord(record, system_clock::time_point(milliseconds(1'700'000'000'042))),
      R"({"time":"2023-11-14T22:13:20.042Z","request_id":"req-1","method":"POST",)"
      R"("path":"/v1/chat/completions","status":200,"duration_ms":12.346,"ttft_ms":3.000,)"
      R"("model":"org/name","receipt":"0123","input_tokens":7,"cached_tokens":5,"output_tokens":9,"bytes_sent":100,"outcome":"stop"})");
}

TEST(AccessLog, HostileTextStaysInsideItsString) {
  AccessRecord record;
  record.method = "GET";
  record.path = "/a\"b\nc\\\x01\xFF";
  const std::string line = FormatAccessRecord(record, {});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_EQ(boost::json::parse(line).at("path").as_string(), "/a\"b\nc\\\x01\xEF\xBF\xBD");
}

TEST(AccessLog, FileHasEveryLineOnceTheLogIsClosed) {
  const testing::TempDir dir;
  const auto path = dir.path() / "access.log";
  {
    auto log = AccessLog::Open(path);
    ASSERT_TRUE(log.has_value());
    for (int i = 0; i < 100; ++i) {
      AccessRecord record;
      record.request_id = std::to_string(i);
      (*log)->Write(record);
    }
    EXPECT_EQ((*log)->dropped(), 0);
  }
  std::istringstream lines(ReadFile(path).value());
  std::set<std::string> ids;
  for (std::string line; std::getline(lines, line);) {
    ids.insert(std::string(boost::json::parse(line).at("request_id").as_string()));
  }
  EXPECT_EQ(ids.size(), 100u);
}

TEST(AccessLog, AFileThatCannotBeOpenedIsAnError) {
  const testing::TempDir dir;
  const auto log = AccessLog::Open(dir.path());
  ASSERT_FALSE(log.has_value());
  EXPECT_EQ(log.error().code, ErrorCode::kIo);
}

TEST(Log, LevelsBelowTheThresholdAreOff) {
  EXPECT_EQ(LevelFromName("warn"), Level::kWarn);
  EXPECT_EQ(LevelFromName("nonsense"), Level::kInfo);
  SetLogLevel(Level::kError);
  EXPECT_FALSE(LogEnabled(Level::kWarn));
  EXPECT_TRUE(LogEnabled(Level::kError));
  SetLogLevel(Level::kInfo);
}

}  // namespace
}  // namespace tradewind::telemetry
