#include "server/metrics/server_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <sstream>
#include <string>

#include "prometheus/text_serializer.h"
#include "server/metrics/process_stats.h"

namespace torchd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// The exposition format, read back: `name{labels}` -> value. Fails the test on a malformed line.
std::map<std::string, double> Scrape(const ServerMetrics& metrics) {
  std::map<std::string, double> samples;
  std::istringstream text(prometheus::TextSerializer().Serialize(metrics.Collect()));
  for (std::string line; std::getline(text, line);) {
    if (line.rfind("# ", 0) == 0) continue;
    const std::size_t space = line.rfind(' ');
    if (space == std::string::npos) {
      ADD_FAILURE() << "malformed line: " << line;
      continue;
    }
    const bool is_new =
        samples.emplace(line.substr(0, space), std::stod(line.substr(space))).second;
    EXPECT_TRUE(is_new) << "twice: " << line;
  }
  return samples;
}

std::optional<double> Sample(const ServerMetrics& metrics, const std::string& name) {
  const auto samples = Scrape(metrics);
  const auto found = samples.find(name);
  return found == samples.end() ? std::nullopt : std::optional<double>(found->second);
}

ServerMetrics::BuildInfo TestBuild() { return {.version = "1.2.3", .libtorch = "2.11.0"}; }

TEST(ServerMetricsTest, StagesAndRequestsAreHistogramsOfTheirModel) {
  ServerMetrics metrics(TestBuild());
  ModelMetrics& cat = metrics.ForModel("cat", 3);
  cat.request.Observe(std::chrono::milliseconds(500));
  cat.queue.Observe(std::chrono::milliseconds(250));
  cat.batch_rows.Observe(8);
  EXPECT_EQ(Sample(metrics, R"(torchd_request_duration_seconds_sum{model="cat",version="3"})"),
            0.5);
  EXPECT_EQ(Sample(metrics, R"(torchd_request_duration_seconds_count{model="cat",version="3"})"),
            1);
  const std::string stage = R"(torchd_stage_duration_seconds_sum{model="cat",version="3",stage=)";
  EXPECT_EQ(Sample(metrics, stage + "\"queue\"}"), 0.25);
  EXPECT_EQ(Sample(metrics, stage + "\"preprocess\"}"), 0);
  EXPECT_EQ(Sample(metrics, stage + "\"execute\"}"), 0);
  EXPECT_EQ(Sample(metrics, stage + "\"postprocess\"}"), 0);
  EXPECT_EQ(Sample(metrics, R"(torchd_batch_rows_bucket{model="cat",version="3",le="4"})"), 0);
  EXPECT_EQ(Sample(metrics, R"(torchd_batch_rows_bucket{model="cat",version="3",le="8"})"), 1);
}

TEST(ServerMetricsTest, ACodeShowsOnceItCame) {
  ServerMetrics metrics(TestBuild());
  ModelMetrics& cat = metrics.ForModel("cat", 1);
  const std::string items = R"(torchd_items_total{model="cat",version="1",code=)";
  EXPECT_EQ(Sample(metrics, items + "\"OK\"}"), 0);
  EXPECT_EQ(Sample(metrics, items + "\"INVALID_ARGUMENT\"}"), std::nullopt);
  cat.items(absl::StatusCode::kInvalidArgument).Add(2);
  cat.items(absl::StatusCode::kUnauthenticated).Add();
  cat.items(static_cast<absl::StatusCode>(99)).Add();
  EXPECT_EQ(Sample(metrics, items + "\"INVALID_ARGUMENT\"}"), 2);
  EXPECT_EQ(Sample(metrics, items + "\"UNAUTHENTICATED\"}"), 1);
  EXPECT_EQ(Sample(metrics, items + "\"UNKNOWN\"}"), 1);
}

TEST(ServerMetricsTest, RefusalsHaveAFixedSetOfSeries) {
  ServerMetrics metrics(TestBuild());
  const std::size_t before = Scrape(metrics).size();
  for (int request = 0; request < 100'000; ++request) {
    metrics.refused(Refusal::kUnknownModel).Add();
  }
  metrics.refused(Refusal::kDeadline).Add();
  EXPECT_EQ(Scrape(metrics).size(), before);
  EXPECT_EQ(Sample(metrics, R"(torchd_requests_refused_total{reason="unknown_model"})"), 100'000);
  EXPECT_EQ(Sample(metrics, R"(torchd_requests_refused_total{reason="deadline"})"), 1);
  EXPECT_EQ(Sample(metrics, R"(torchd_requests_refused_total{reason="queue_full"})"), 0);
}

TEST(ServerMetricsTest, AVersionStaysUntilItsLastUserRemovesIt) {
  ServerMetrics metrics(TestBuild());
  const std::string items = R"(torchd_items_total{model="cat",version="1",code="OK"})";
  ModelMetrics& draining = metrics.ForModel("cat", 1);
  draining.items(absl::StatusCode::kOk).Add();
  ModelMetrics& reloaded = metrics.ForModel("cat", 1);
  EXPECT_EQ(&draining, &reloaded);
  metrics.RemoveModel("cat", 1);
  reloaded.items(absl::StatusCode::kOk).Add();
  EXPECT_EQ(Sample(metrics, items), 2);
  metrics.RemoveModel("cat", 1);
  EXPECT_EQ(Sample(metrics, items), std::nullopt);
  metrics.RemoveModel("cat", 1);  // Not there: no effect.
}

// The server's totals used to fall when a version was unloaded.
TEST(ServerMetricsTest, ItemsOfVersionsThatAreGoneStillCount) {
  ServerMetrics metrics(TestBuild());
  ModelMetrics& first = metrics.ForModel("cat", 1);
  first.items(absl::StatusCode::kOk).Add();
  first.items(absl::StatusCode::kInternal).Add();
  metrics.RemoveModel("cat", 1);
  ModelMetrics& second = metrics.ForModel("cat", 2);
  second.items(absl::StatusCode::kOk).Add();
  second.items(absl::StatusCode::kUnauthenticated).Add();
  EXPECT_EQ(metrics.items().ok, 2u);
  EXPECT_EQ(metrics.items().failed, 2u);
}

TEST(ServerMetricsTest, ReferencesStayWhenOtherModelsComeAndGo) {
  ServerMetrics metrics(TestBuild());
  ModelMetrics& cat = metrics.ForModel("cat", 1);
  for (int version = 2; version < 100; ++version) metrics.ForModel("cat", version);
  for (int version = 2; version < 100; ++version) metrics.RemoveModel("cat", version);
  cat.items(absl::StatusCode::kOk).Add();
  EXPECT_EQ(Sample(metrics, R"(torchd_items_total{model="cat",version="1",code="OK"})"), 1);
}

TEST(ServerMetricsTest, ExecutorsAreAskedAtEachScrape) {
  ServerMetrics metrics(TestBuild());
  std::int64_t rows = 5;
  metrics.AddExecutor("cpu", [&rows] { return rows; });
  EXPECT_EQ(Sample(metrics, R"(torchd_executor_rows_waiting{executor="cpu"})"), 5);
  rows = 0;
  EXPECT_EQ(Sample(metrics, R"(torchd_executor_rows_waiting{executor="cpu"})"), 0);
}

TEST(ServerMetricsTest, LoadsAreCountedByModelAndCode) {
  ServerMetrics metrics(TestBuild());
  metrics.CountLoad("cat", absl::StatusCode::kOk);
  metrics.CountLoad("cat", absl::StatusCode::kOk);
  metrics.CountLoad("cat", absl::StatusCode::kInternal);
  metrics.CountLoad("dog", absl::StatusCode::kOk);
  const std::string loads = "torchd_model_loads_total{model=";
  EXPECT_EQ(Sample(metrics, loads + R"("cat",code="OK"})"), 2);
  EXPECT_EQ(Sample(metrics, loads + R"("cat",code="INTERNAL"})"), 1);
  EXPECT_EQ(Sample(metrics, loads + R"("dog",code="OK"})"), 1);
  EXPECT_EQ(Sample(metrics, loads + R"("dog",code="INTERNAL"})"), std::nullopt);
}

TEST(ServerMetricsTest, ExactlyOneStateOfAVersionIsOne) {
  ServerMetrics metrics(TestBuild());
  metrics.SetModelStates([] {
    return std::vector<ServerMetrics::ModelState>{{"cat", 1, "LOADING", "", 0}};
  });
  double sum = 0;
  int series = 0;
  for (const auto& [name, value] : Scrape(metrics)) {
    if (name.rfind("torchd_model_state{", 0) != 0) continue;
    sum += value;
    ++series;
  }
  EXPECT_EQ(series, 5);
  EXPECT_EQ(sum, 1);
  EXPECT_EQ(Sample(metrics, R"(torchd_model_state{model="cat",version="1",state="LOADING"})"), 1);
}

TEST(ServerMetricsTest, SaysByWhichPlanAVersionRuns) {
  ServerMetrics metrics(TestBuild());
  metrics.SetModelStates([] {
    return std::vector<ServerMetrics::ModelState>{{"cat", 1, "READY", "graph", 0, 2},
                                                  {"fox", 1, "READY", "direct", 1, 0},
                                                  {"dog", 1, "LOADING", "", 0, 0}};
  });
  EXPECT_EQ(
      Sample(metrics, R"(torchd_model_plan{model="cat",version="1",plan="graph",threads="all"})"),
      1);
  EXPECT_EQ(
      Sample(metrics, R"(torchd_model_plan{model="fox",version="1",plan="direct",threads="1"})"),
      1);
  EXPECT_EQ(Sample(metrics, R"(torchd_plan_fallbacks_total{model="cat",version="1"})"), 2);
  for (const auto& entry : Scrape(metrics)) {
    EXPECT_NE(entry.first.rfind(R"(torchd_model_plan{model="dog")", 0), 0u);
  }
}

TEST(ServerMetricsTest, SaysWhatItWasBuiltFrom) {
  EXPECT_EQ(
      Sample(ServerMetrics(TestBuild()), R"(torchd_build_info{version="1.2.3",libtorch="2.11.0"})"),
      1);
}

TEST(ServerMetricsTest, ProcessFiguresArePlausible) {
  const std::optional<ProcessStats> before = ReadProcessStats();
  ASSERT_TRUE(before.has_value());
  const int fd = dup(0);
  ASSERT_GE(fd, 0);
  const std::optional<ProcessStats> after = ReadProcessStats();
  close(fd);
  ASSERT_TRUE(after.has_value());
  EXPECT_EQ(after->open_fds, before->open_fds + 1);
  EXPECT_GE(before->threads, 1);
  EXPECT_GT(before->resident_bytes, 1e6);
  const double now = static_cast<double>(time(nullptr));
  EXPECT_LE(before->start_time_seconds, now + 2);
  EXPECT_GT(before->start_time_seconds, now - 600);
}

TEST(ServerMetricsTest, EveryFamilyIsDocumented) {
  std::ifstream file(TORCHD_SOURCE_DIR "/docs/metrics.md");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto families = ServerMetrics(TestBuild()).Collect();
  EXPECT_EQ(families.size(), 16u);
  for (const prometheus::MetricFamily& family : families) {
    EXPECT_THAT(text, HasSubstr("`" + family.name + "`")) << family.name;
    EXPECT_THAT(family.help, Not(testing::IsEmpty())) << family.name;
  }
}

}  // namespace
}  // namespace torchd
