#include "server/rpc/listing.h"

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/fake_model.h"

namespace torchd {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::SizeIs;

class ListingTest : public ::testing::Test {
 protected:
  // A version that serves, with this configuration and this lane.
  VersionStatus Ready(const ModelConfig& config, LaneOptions options) {
    auto model = std::make_unique<FakeModel>();
    auto lane = std::make_unique<Lane>(*model, std::move(options));
    lane->costs.Add({}, lane->rows_max(), microseconds(1500));
    lane->costs.Add({128}, 1, milliseconds(7));
    ModelConfig prepared;
    prepared.text = config.text;
    const std::vector<TensorSpec> ids = {{"input_ids", DataType::kInt64, {-1}},
                                         {"attention_mask", DataType::kInt64, {-1}}};
    auto preprocessor =
        Preprocessor::Create(prepared, config.text ? ids : model->signature().inputs,
                             "[PAD]\n[UNK]\n[CLS]\n[SEP]\ncat\n", ImageLimits());
    EXPECT_TRUE(preprocessor.ok()) << preprocessor.status();
    VersionStatus status;
    status.name = "cat";
    status.version = 3;
    status.state = VersionState::kReady;
    status.notes = {"config.pbtxt is not read"};
    status.servable = std::make_shared<Servable>(Servable{"cat",
                                                          3,
                                                          config,
                                                          {"a", "b", "c"},
                                                          std::move(model),
                                                          std::move(lane),
                                                          *std::move(preprocessor),
                                                          metrics_.ForModel("cat", 3)});
    return status;
  }

  static v1::ModelVersion Listed(const VersionStatus& status, int rows_waiting = 0) {
    v1::ModelVersion wire;
    ToWire(status, rows_waiting, wire);
    return wire;
  }

  ServerMetrics metrics_{{"0", "0"}};
};

TEST_F(ListingTest, WhatDoesNotServeHasItsReasonAndNoScheduling) {
  VersionStatus status;
  status.name = "cat";
  status.version = 2;
  status.state = VersionState::kUnavailable;
  status.reason = "no model.pt";
  const v1::ModelVersion listed = Listed(status);
  EXPECT_EQ(listed.name(), "cat");
  EXPECT_EQ(listed.version(), 2);
  EXPECT_EQ(listed.state(), v1::VERSION_STATE_UNAVAILABLE);
  EXPECT_EQ(listed.reason(), "no model.pt");
  EXPECT_FALSE(listed.has_scheduling());
}

TEST_F(ListingTest, WhatServesSaysByWhichPlanAndOnHowManyThreads) {
  VersionStatus status = Ready({}, {});
  EXPECT_EQ(Listed(status).plan().threads(), 0);
  auto& model = static_cast<FakeModel&>(*status.servable->model);
  model.by_plan = Plan::kDirect;
  model.on_threads = 2;
  PlanCandidate candidate;
  candidate.plan = Plan::kDirect;
  candidate.threads = 2;
  status.plan.candidates = {PlanCandidate(), candidate};
  status.plan.plan = Plan::kDirect;
  status.plan.why = "the model's configuration says so";
  const v1::PlanReport plan = Listed(status).plan();
  EXPECT_EQ(plan.plan(), "direct");
  EXPECT_EQ(plan.why(), "the model's configuration says so");
  EXPECT_EQ(plan.threads(), 2);
  ASSERT_THAT(plan.candidates(), SizeIs(2));
  EXPECT_EQ(plan.candidates(0).threads(), 0);
  EXPECT_EQ(plan.candidates(1).threads(), 2);
}

// The configuration went on to be the reason for a plan that no run came by.
TEST_F(ListingTest, AFailedPlanSaysWhatItFailedWith) {
  VersionStatus status = Ready({}, {});
  auto& model = static_cast<FakeModel&>(*status.servable->model);
  model.by_plan = Plan::kSaved;
  model.failed_with = "no view of that";
  status.plan.plan = Plan::kChannelsLast;
  status.plan.why = "the model's configuration says so";
  const v1::PlanReport plan = Listed(status).plan();
  EXPECT_EQ(plan.plan(), "saved");
  EXPECT_EQ(plan.why(),
            "'channels_last' (the model's configuration says so) failed: no view of that");
  EXPECT_EQ(plan.fallbacks(), 1);
}

TEST_F(ListingTest, WhatServesSaysWhatItTakesAndGives) {
  const v1::ModelVersion listed = Listed(Ready({}, {}));
  EXPECT_EQ(listed.state(), v1::VERSION_STATE_READY);
  ASSERT_THAT(listed.inputs(), SizeIs(1));
  EXPECT_EQ(listed.inputs(0).name(), "x");
  EXPECT_EQ(listed.inputs(0).data_type(), "float32");
  EXPECT_THAT(listed.inputs(0).shape(), ElementsAre(3));
  EXPECT_EQ(listed.outputs(0).name(), "scores");
  EXPECT_THAT(listed.takes(), ElementsAre("tensor"));
  EXPECT_EQ(listed.labels(), 3);
}

TEST_F(ListingTest, WhatAnImageGoesThroughIsVisible) {
  ModelConfig config;
  config.image =
      ImageConfig{.resize = 280, .crop = 240, .filter = ResizeFilter::kBicubic, .antialias = false};
  const v1::ModelVersion listed = Listed(Ready(config, {}));
  ASSERT_TRUE(listed.has_image());
  EXPECT_FALSE(listed.has_text());
  const v1::ImageInput& image = listed.image();
  EXPECT_THAT(image.formats(), IsSupersetOf({"jpeg", "png"}));
  EXPECT_EQ(image.preset(), "imagenet");
  EXPECT_EQ(image.resize(), 280);
  EXPECT_EQ(image.crop(), 240);
  EXPECT_EQ(image.filter(), "bicubic");
  EXPECT_FALSE(image.antialias());
  EXPECT_THAT(image.mean(), ElementsAre(0.485F, 0.456F, 0.406F));
  EXPECT_THAT(image.std(), ElementsAre(0.229F, 0.224F, 0.225F));
}

TEST_F(ListingTest, WhatIsNotDoneToAnImageIsNotTold) {
  ModelConfig config;
  config.image = ImageConfig{.filter = ResizeFilter::kNearest};
  v1::ImageInput image = Listed(Ready(config, {})).image();
  EXPECT_FALSE(image.antialias());
  EXPECT_EQ(image.layout(), "chw");
  EXPECT_EQ(image.data_type(), "float32");
  EXPECT_FLOAT_EQ(image.scale(), 1.0F / 255);
  config.image->scale = 1.0F;
  image = Listed(Ready(config, {})).image();
  EXPECT_EQ(image.scale(), 1.0F);
  EXPECT_EQ(image.preset(), "");
  config.image->as_levels = true;
  config.image->layout = ImageLayout::kHwc;
  image = Listed(Ready(config, {})).image();
  EXPECT_EQ(image.layout(), "hwc");
  EXPECT_EQ(image.data_type(), "uint8");
  EXPECT_EQ(image.preset(), "");
  EXPECT_FALSE(image.has_scale());
  EXPECT_THAT(image.mean(), IsEmpty());
  EXPECT_THAT(image.std(), IsEmpty());
}

TEST_F(ListingTest, WhatBecomesOfScoresIsVisible) {
  ModelConfig config;
  v1::ModelVersion listed = Listed(Ready(config, {}));
  EXPECT_EQ(listed.activation(), "softmax");
  EXPECT_FALSE(listed.has_threshold());
  config.activation = Activation::kSigmoid;
  config.threshold = 0.25F;
  listed = Listed(Ready(config, {}));
  EXPECT_EQ(listed.activation(), "sigmoid");
  EXPECT_EQ(listed.threshold(), 0.25F);
}

TEST_F(ListingTest, APresetIsKnownByItsNumbers) {
  ModelConfig config;
  config.image.emplace();
  config.image->mean.fill(0.5F);
  config.image->std.fill(0.5F);
  EXPECT_EQ(Listed(Ready(config, {})).image().preset(), "imagenet-0.5");
  config.image->std[2] = 0.25F;
  EXPECT_EQ(Listed(Ready(config, {})).image().preset(), "");
}

TEST_F(ListingTest, WhatATextGoesThroughIsVisible) {
  ModelConfig config;
  config.text = TextConfig{.lowercase = false, .tokens_max = 96, .lengths = {32, 96}};
  const v1::ModelVersion listed = Listed(Ready(config, {}));
  ASSERT_TRUE(listed.has_text());
  EXPECT_FALSE(listed.has_image());
  EXPECT_EQ(listed.text().tokens_max(), 96);
  EXPECT_THAT(listed.text().lengths(), ElementsAre(32, 96));
  EXPECT_FALSE(listed.text().lowercase());
  EXPECT_EQ(listed.text().bytes_max(), 1024 * 1024);
}

// Padding never goes beyond what a text may have.
TEST_F(ListingTest, LengthsAreThoseThatTextsGet) {
  ModelConfig config;
  config.text = TextConfig{.tokens_max = 100};
  EXPECT_THAT(Listed(Ready(config, {})).text().lengths(), ElementsAre(16, 32, 64, 100));
  config.text->tokens_max = 128;
  EXPECT_THAT(Listed(Ready(config, {})).text().lengths(), ElementsAre(16, 32, 64, 128));
  config.text->tokens_max = 1000;
  EXPECT_THAT(Listed(Ready(config, {})).text().lengths(), ElementsAre(16, 32, 64, 128, 256, 512));
  config.text->lengths = {};
  EXPECT_THAT(Listed(Ready(config, {})).text().lengths(), IsEmpty());
}

TEST_F(ListingTest, EveryKnobOfTheLaneIsVisible) {
  LaneOptions options;
  options.buckets = {1, 2, 4, 6};
  options.rows_waiting_max = 77;
  options.delay_max = microseconds(500);
  options.regroup_max = microseconds(700);
  options.executors_max = 2;
  options.ageing = milliseconds(250);
  options.note = "rows run one by one: they differ";
  ModelConfig config;
  config.timeout_ms = 800;
  config.non_finite = NonFinite::kFlag;
  config.text = TextConfig();
  config.text->lengths = {8, 32};
  const v1::Scheduling listed = Listed(Ready(config, options), 5).scheduling();
  EXPECT_EQ(listed.rows_per_batch_max(), 6);
  EXPECT_THAT(listed.buckets(), ElementsAre(1, 2, 4, 6));
  EXPECT_EQ(listed.rows_waiting(), 5);
  EXPECT_EQ(listed.rows_waiting_max(), 77);
  EXPECT_EQ(listed.delay_us_max(), 500);
  EXPECT_EQ(listed.regroup_us_max(), 700);
  EXPECT_EQ(listed.executors_max(), 2);
  EXPECT_EQ(listed.ageing_ms(), 250);
  EXPECT_EQ(listed.timeout_ms(), 800);
  EXPECT_EQ(listed.non_finite(), v1::NON_FINITE_POLICY_FLAG);
  EXPECT_THAT(listed.text_lengths(), ElementsAre(8, 32));
  EXPECT_EQ(listed.note(), "rows run one by one: they differ");
}

TEST_F(ListingTest, WhatNobodySaidIsZeroOrEmpty) {
  const v1::Scheduling listed = Listed(Ready({}, {})).scheduling();
  EXPECT_EQ(listed.rows_waiting(), 0);
  EXPECT_EQ(listed.delay_us_max(), 0);
  EXPECT_EQ(listed.regroup_us_max(), 0);
  EXPECT_EQ(listed.executors_max(), 0);
  EXPECT_EQ(listed.ageing_ms(), 1000);
  EXPECT_EQ(listed.timeout_ms(), 0);
  EXPECT_EQ(listed.non_finite(), v1::NON_FINITE_POLICY_ERROR);
  EXPECT_THAT(listed.text_lengths(), IsEmpty());
  EXPECT_EQ(listed.note(), "");
}

TEST_F(ListingTest, MeasuredCostsStandBySizesAndBucket) {
  LaneOptions options;
  options.buckets = {1, 2};
  const v1::Scheduling listed = Listed(Ready({}, options)).scheduling();
  ASSERT_THAT(listed.costs(), SizeIs(2));
  EXPECT_THAT(listed.costs(0).open_sizes(), IsEmpty());
  EXPECT_EQ(listed.costs(0).bucket(), 2);
  EXPECT_EQ(listed.costs(0).mean_us(), 1500);
  EXPECT_EQ(listed.costs(0).runs(), 1);
  EXPECT_THAT(listed.costs(1).open_sizes(), ElementsAre(128));
  EXPECT_EQ(listed.costs(1).bucket(), 1);
  EXPECT_EQ(listed.costs(1).mean_us(), 7000);
}

}  // namespace
}  // namespace torchd
