#include "client/render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace torchd {
namespace {

using testing::HasSubstr;
using testing::Not;

void AddClass(int index, const std::string& label, float probability, v1::ClassifyResult& result) {
  v1::Class* one = result.add_classes();
  one->set_index(index);
  one->set_label(label);
  one->set_probability(probability);
}

void AddCandidate(const std::string& plan, int threads, double ratio, v1::PlanReport& report) {
  v1::PlanCandidate* one = report.add_candidates();
  one->set_plan(plan);
  one->set_threads(threads);
  one->set_state("timed");
  one->set_run_us(static_cast<int64_t>(10'000 * ratio));
  one->set_ratio(ratio);
}

TEST(PlansTableTest, ShowsThePlanItsThreadsAndAllThatWereTried) {
  v1::ListModelsResponse response;
  v1::ModelVersion& model = *response.add_models();
  model.set_name("cat");
  model.set_version(2);
  v1::PlanReport& plan = *model.mutable_plan();
  plan.set_plan("direct");
  plan.set_threads(1);
  plan.set_why("the fastest of 2 timed, faster on 1 thread");
  AddCandidate("frozen", 0, 1, plan);
  AddCandidate("direct", 0, 0.5, plan);
  AddCandidate("direct", 1, 0.25, plan);
  EXPECT_EQ(PlansTable(response),
            "cat 2: direct on 1 thread, the fastest of 2 timed, faster on 1 thread\n"
            "  PLAN    THREADS  STATE  MS PER RUN  TO FROZEN  DIFFERENCE  REASON\n"
            "  frozen  all      timed  10.00       1.00       0.0e+00\n"
            "  direct  all      timed  5.00        0.50       0.0e+00\n"
            "  direct  1        timed  2.50        0.25       0.0e+00\n");
  plan.set_threads(0);
  EXPECT_THAT(PlansTable(response), HasSubstr("cat 2: direct on all threads, "));
}

// "no version is ready" said neither which nor why.
TEST(PlansTableTest, ShowsStateAndReasonOfWhatIsNotReady) {
  v1::ListModelsResponse response;
  EXPECT_EQ(PlansTable(response), "no version is ready\n");
  v1::ModelVersion& model = *response.add_models();
  model.set_name("cat");
  model.set_version(2);
  model.set_state(v1::VERSION_STATE_UNAVAILABLE);
  model.set_reason("no model.pt\nat all");
  v1::ModelVersion& loading = *response.add_models();
  loading.set_name("dog");
  loading.set_version(1);
  loading.set_state(v1::VERSION_STATE_LOADING);
  EXPECT_EQ(PlansTable(response), "cat 2: UNAVAILABLE, no model.pt at all\ndog 1: LOADING\n");
}

TEST(ClassifyTableTest, ShowsLabelsPercentIndexAndTimes) {
  v1::ClassifyResult result;
  AddClass(281, "tabby", 0.5F, result);
  AddClass(7, "Käuzchen", 0.0625F, result);
  AddClass(3, "", 0, result);
  result.mutable_times()->set_preprocess_us(3140);
  result.mutable_times()->set_total_us(25'000);
  EXPECT_EQ(ClassifyTable({"cat.jpg", "lite0", 2, result}, /*scores=*/false),
            "cat.jpg  (lite0 version 2)\n"
            "   50.00 %  tabby       #281\n"
            "    6.25 %  Käuzchen    #7\n"
            "    0.00 %  (no label)  #3\n"
            "  ms: preprocess 3.14, queue 0.00, execute 0.00, postprocess 0.00, total 25.00\n");
}

TEST(ClassifyTableTest, ShowsScoresAsTheyAre) {
  v1::ClassifyResult result;
  AddClass(1, "a", 0.5F, result);
  EXPECT_THAT(ClassifyTable({"f", "m", 1, result}, /*scores=*/true),
              HasSubstr("  0.5000  a  #1\n"));
}

// The model's configuration may say softmax: false without the caller knowing.
TEST(ClassifyTableTest, TakesValuesOutsideZeroToOneForScores) {
  v1::ClassifyResult result;
  AddClass(1, "a", 7.25F, result);
  AddClass(2, "b", 0.5F, result);
  const std::string table = ClassifyTable({"f", "m", 1, result}, /*scores=*/false);
  EXPECT_THAT(table, HasSubstr("  7.2500  a"));
  EXPECT_THAT(table, Not(HasSubstr("%")));
}

TEST(ClassifyTableTest, SaysWhereNoClassIsLeft) {
  EXPECT_THAT(ClassifyTable({"f", "m", 1, v1::ClassifyResult()}, false),
              HasSubstr("f  (m version 1)\n  no class is left\n  ms: "));
}

TEST(ClassifyTableTest, SaysWhereScoresWereLeftOut) {
  v1::ClassifyResult result;
  AddClass(1, "a", 0.5F, result);
  EXPECT_THAT(ClassifyTable({"f", "m", 1, result}, false), Not(HasSubstr("NaN")));
  result.set_non_finite(true);
  EXPECT_THAT(ClassifyTable({"f", "m", 1, result}, false),
              HasSubstr("#1\n  scores that are NaN or infinite are left out\n  ms: "));
}

TEST(ClassifyTableTest, KeepsControlCharactersFromTheTerminal) {
  v1::ClassifyResult result;
  AddClass(1, "a\x1B[31m\nb", 0.5F, result);
  EXPECT_THAT(ClassifyTable({"x\ny", "m", 1, result}, false), HasSubstr("a [31m b"));
  EXPECT_THAT(ClassifyTable({"x\ny", "m", 1, result}, false), HasSubstr("x y  (m version 1)"));
}

TEST(ModelsTableTest, AlignsItsColumns) {
  v1::ListModelsResponse response;
  v1::ModelVersion* ready = response.add_models();
  ready->set_name("lite0");
  ready->set_version(12);
  ready->set_state(v1::VERSION_STATE_READY);
  ready->add_takes("tensor");
  ready->add_takes("image");
  v1::TensorDescription* input = ready->add_inputs();
  input->set_name("x");
  input->set_data_type("float32");
  for (const int size : {3, -1}) input->add_shape(size);
  v1::ModelVersion* empty = response.add_models();
  empty->set_name("empty");
  empty->set_state(v1::VERSION_STATE_UNAVAILABLE);
  empty->set_reason("no version\nin it");
  EXPECT_EQ(ModelsTable(response),
            "NAME   VERSION  STATE        TAKES         INPUTS          REASON\n"
            "lite0  12       READY        tensor,image  x float32[3,?]\n"
            "empty  -        UNAVAILABLE  -             -               no version in it\n");
}

TEST(ModelsTableTest, ShowsLabelsBesideTheVersionAndEachNoteOnce) {
  v1::ListModelsResponse response;
  for (const int version : {1, 2}) {
    v1::ModelVersion* model = response.add_models();
    model->set_name("cat");
    model->set_version(version);
    model->set_state(v1::VERSION_STATE_READY);
    model->add_notes("config.pbtxt\nis not read");
    if (version == 2) model->add_version_labels("canary");
    if (version == 2) model->add_version_labels("stable");
  }
  EXPECT_EQ(ModelsTable(response),
            "NAME  VERSION             STATE  TAKES  INPUTS  REASON\n"
            "cat   1                   READY  -      -\n"
            "cat   2 (canary, stable)  READY  -      -\n"
            "\nNotes:\n"
            "cat: config.pbtxt is not read\n");
}

TEST(ModelsTableTest, VerboseShowsBeneathEachVersionHowItsRowsWaitAndRun) {
  v1::ListModelsResponse response;
  v1::ModelVersion* text = response.add_models();
  text->set_name("text");
  text->set_version(1);
  text->set_state(v1::VERSION_STATE_READY);
  v1::Scheduling* scheduling = text->mutable_scheduling();
  scheduling->set_rows_per_batch_max(4);
  for (const int bucket : {1, 2, 4}) scheduling->add_buckets(bucket);
  scheduling->set_rows_waiting(3);
  scheduling->set_rows_waiting_max(256);
  scheduling->set_delay_us_max(500);
  scheduling->set_regroup_us_max(700);
  scheduling->set_executors_max(2);
  scheduling->set_ageing_ms(1000);
  scheduling->set_timeout_ms(800);
  scheduling->set_non_finite(v1::NON_FINITE_POLICY_FLAG);
  for (const int length : {64, 128}) scheduling->add_text_lengths(length);
  scheduling->set_note("odd\nnote");
  v1::RunCost* cost = scheduling->add_costs();
  for (const int size : {64, 64}) cost->add_open_sizes(size);
  cost->set_bucket(4);
  cost->set_mean_us(6000);
  cost->set_runs(21);
  v1::ModelVersion* broken = response.add_models();
  broken->set_name("broken");
  broken->set_version(1);
  broken->set_state(v1::VERSION_STATE_UNAVAILABLE);
  broken->set_reason("no model.pt");
  EXPECT_EQ(ModelsTable(response, /*verbose=*/true),
            "NAME    VERSION  STATE        TAKES  INPUTS  REASON\n"
            "text    1        READY        -      -\n"
            "    rows in a run       at most 4, in runs of 1, 2, 4\n"
            "    rows waiting        3 now, at most 256\n"
            "    wait for company    at most 500 us\n"
            "    wait for callers    at most 700 us after a run, for those it answered\n"
            "    executors           at most 2 at once\n"
            "    ageing              goes before newer rows a priority above after 1000 ms\n"
            "    time for a request  at most 800 ms\n"
            "    NaN, infinite       flag\n"
            "    texts padded to     64, 128 tokens\n"
            "    note                odd note\n"
            "    SIZES  ROWS  MS PER RUN  MS PER ROW  RUNS\n"
            "    64,64  4     6.000       1.500       21\n"
            "broken  1        UNAVAILABLE  -      -       no model.pt\n");
}

TEST(ModelsTableTest, VerboseSaysInWordsWhatNobodyLimited) {
  v1::ListModelsResponse response;
  v1::Scheduling* scheduling = response.add_models()->mutable_scheduling();
  scheduling->set_rows_per_batch_max(1);
  scheduling->add_buckets(1);
  const std::string table = ModelsTable(response, /*verbose=*/true);
  for (const char* line :
       {"wait for company    none\n", "wait for callers    none\n", "executors           all\n",
        "time for a request  what its caller allows\n", "    nothing is measured yet\n"}) {
    EXPECT_THAT(table, HasSubstr(line));
  }
  EXPECT_THAT(table, Not(HasSubstr("texts padded to")));
  EXPECT_THAT(ModelsTable(response), Not(HasSubstr("rows in a run")));
}

TEST(NonFiniteNameTest, IsWhatTheConfigurationSays) {
  EXPECT_EQ(NonFiniteName(v1::NON_FINITE_POLICY_ERROR), "error");
  EXPECT_EQ(NonFiniteName(v1::NON_FINITE_POLICY_FLAG), "flag");
  EXPECT_EQ(NonFiniteName(static_cast<v1::NonFinitePolicy>(99)), "unknown");
}

TEST(StatusTableTest, ShowsTheServerAndItsExecutors) {
  v1::GetServerStatusResponse response;
  response.set_version("0.1.0");
  response.set_libtorch_version("2.11.0");
  response.set_uptime_ms(3'725'000);
  response.set_versions_ready(1);
  response.set_versions_total(2);
  response.set_items_ok(30);
  v1::ExecutorStatus* executor = response.add_executors();
  executor->set_name("cpu:0");
  executor->set_threads(2);
  executor->set_rows_waiting_max(256);
  executor->set_rows_run(30);
  EXPECT_EQ(StatusTable(response),
            "torchd          0.1.0\n"
            "LibTorch        2.11.0\n"
            "up for          1 h 2 min\n"
            "state           serving\n"
            "models          1 of 2 versions ready\n"
            "items           30 answered, 0 failed\n"
            "executor cpu:0  2 threads, 0 rows waiting (at most 256 a model), 30 rows run\n");
}

TEST(StatusTableTest, SaysWhenTheServerDrains) {
  v1::GetServerStatusResponse response;
  response.set_draining(true);
  EXPECT_THAT(StatusTable(response), HasSubstr("state     draining\n"));
}

TEST(ErrorLineTest, IsOneLineWithTheCode) {
  EXPECT_EQ(ErrorLine(absl::NotFoundError("no model\n'x'")), "torchctl: NOT_FOUND: no model 'x'\n");
  EXPECT_EQ(ErrorLine(absl::InvalidArgumentError("not a JPEG"), "a.jpg"),
            "torchctl: INVALID_ARGUMENT: a.jpg: not a JPEG\n");
}

}  // namespace
}  // namespace torchd
