#include "client/bench_report.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;
using Strings = std::vector<std::string>;

v1::BenchmarkResult Result() {
  v1::BenchmarkResult result;
  result.set_model("cat");
  result.set_version(3);
  result.set_plan("onednn");
  v1::TensorDescription& input = *result.add_inputs();
  input.set_name("x");
  input.set_data_type("float32");
  for (const int size : {3, 224, 224}) input.add_shape(size);
  result.set_batch_size(4);
  result.set_concurrency(2);
  result.set_warm_up(10);
  v1::RunTimes& times = *result.mutable_times();
  times.set_runs(100);
  times.set_min_us(900.5);
  times.set_p50_us(1000);
  times.set_p90_us(1100);
  times.set_p95_us(1200);
  times.set_p99_us(2500);
  times.set_max_us(81'234);
  times.set_mean_us(1010);
  times.set_stddev_us(50);
  times.set_median_low_us(995);
  times.set_median_high_us(1005);
  times.set_median_confidence(0.9648);
  const struct {
    double from, to;
    int64_t runs;
  } bins[] = {{900, 1000, 80}, {1000, 1100, 19}, {1100, 81'234, 1}};
  for (const auto& bin : bins) {
    v1::TimeBin& added = *result.add_bins();
    added.set_from_us(bin.from);
    added.set_to_us(bin.to);
    added.set_runs(bin.runs);
  }
  for (int i = 0; i < 20; ++i) result.add_curve_us(i == 0 ? 812'000 : 1000);
  result.set_rows_per_second(7920.7);
  result.set_rows_went_first(7);
  result.set_elapsed_ms(4100);
  return result;
}

TEST(BenchReportTest, TheTableHasWhatMatters) {
  const std::string table = BenchTable(Result());
  for (const char* part :
       {"cat version 3, plan onednn", "4 rows of x float32[3,224,224], 2 at a time",
        "100 runs after 10 of warm-up, 4.1 s", "median  1.000", "96.5 % sure: 0.995 to 1.005",
        "p99     2.500", "most    81.23", "standard deviation 0.050", "7920.7", "rows/s",
        "first runs, ms: 812.00 1.000", "gave way to 7 runs of clients' rows"}) {
    EXPECT_THAT(table, HasSubstr(part));
  }
}

TEST(BenchReportTest, TheHistogramsLongestBarIsForty) {
  const std::string table = BenchTable(Result());
  EXPECT_THAT(table, HasSubstr("0.900 - 1.000  80    " + std::string(40, '#') + "\n"));
  EXPECT_THAT(table, HasSubstr("19    " + std::string(10, '#') + "\n"));
  EXPECT_THAT(table, HasSubstr("1.100 - 81.23  1     #\n")) << "what is there shows";
}

TEST(BenchReportTest, NobodyToGiveWayToIsNotSaid) {
  v1::BenchmarkResult result = Result();
  result.set_rows_went_first(0);
  EXPECT_THAT(BenchTable(result), Not(HasSubstr("gave way")));
}

TEST(BenchReportTest, JsonHasEveryField) {
  const Json json = Json::parse(BenchJson(Result()));
  const auto* fields = v1::BenchmarkResult::descriptor();
  for (int i = 0; i < fields->field_count(); ++i) {
    EXPECT_TRUE(json.contains(fields->field(i)->name())) << fields->field(i)->name();
  }
  const auto* times = v1::RunTimes::descriptor();
  for (int i = 0; i < times->field_count(); ++i) {
    EXPECT_TRUE(json["times"].contains(times->field(i)->name())) << times->field(i)->name();
  }
  EXPECT_EQ(json["times"]["min_us"], 900.5);
  EXPECT_EQ(json["inputs"][0]["shape"], Json({3, 224, 224}));
  EXPECT_EQ(json["bins"].size(), 3u);
  EXPECT_EQ(json["curve_us"].size(), 20u);
}

TEST(BenchReportTest, CsvIsALineOfHeadingsAndOneOfValues) {
  v1::BenchmarkResult result = Result();
  result.set_model("c\"at\n");
  const Strings lines = absl::StrSplit(BenchCsv(result), '\n');
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0],
            "model,version,plan,inputs,batch_size,concurrency,warm_up,runs,min_us,p50_us,p90_us,"
            "p95_us,p99_us,max_us,mean_us,stddev_us,median_low_us,median_high_us,"
            "median_confidence,rows_per_second,rows_went_first,elapsed_ms");
  EXPECT_EQ(lines[1],
            "\"c\"\"at \",3,\"onednn\",\"x float32[3,224,224]\",4,2,10,100,900.500,1000.000,"
            "1100.000,1200.000,2500.000,81234.000,1010.000,50.000,995.000,1005.000,0.965,7920.700,"
            "7,4100");
  EXPECT_EQ(lines[2], "");
}

TEST(BenchReportTest, ProgressIsOneLine) {
  v1::BenchmarkProgress progress;
  progress.set_phase(v1::BenchmarkProgress::PHASE_LOADING);
  progress.set_elapsed_ms(3210);
  EXPECT_EQ(BenchProgressLine(progress), "loading, 3.2 s");
  progress.set_phase(v1::BenchmarkProgress::PHASE_WARM_UP);
  progress.set_runs(3);
  progress.set_runs_total(10);
  EXPECT_EQ(BenchProgressLine(progress), "warm-up 3 of 10, 3.2 s");
  progress.set_phase(v1::BenchmarkProgress::PHASE_MEASURING);
  progress.set_runs_total(0);
  progress.set_share(0.42);
  EXPECT_EQ(BenchProgressLine(progress), "measuring 3, 42 %, 3.2 s");
}

}  // namespace
}  // namespace torchd
