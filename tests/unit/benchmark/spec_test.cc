#include "server/benchmark/spec.h"

#include <memory>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/fake_model.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr auto kBadRequest = absl::StatusCode::kInvalidArgument;

class SpecTest : public ::testing::Test {
 protected:
  Servable Make(ModelSignature signature, const ModelConfig& config = {}) {
    auto model = std::make_unique<FakeModel>(std::move(signature));
    auto lane = std::make_unique<Lane>(*model, LaneOptions());
    auto preprocessor = Preprocessor::Create({}, EchoSignature(3).inputs, "", ImageLimits());
    EXPECT_TRUE(preprocessor.ok()) << preprocessor.status();
    return Servable{"cat",
                    1,
                    config,
                    {},
                    std::move(model),
                    std::move(lane),
                    *std::move(preprocessor),
                    metrics_.ForModel("cat", 1)};
  }

  static ModelSignature Picture() {
    return {{{"picture", DataType::kFloat32, {3, -1, -1}}}, EchoSignature(3).outputs};
  }
  static ModelSignature Text() {
    return {{{"ids", DataType::kInt64, {-1}}, {"mask", DataType::kInt64, {-1}}},
            EchoSignature(3).outputs};
  }

  static std::string Wrong(const absl::Status& status) {
    EXPECT_EQ(status.code(), kBadRequest) << status;
    return std::string(status.message());
  }
  static std::vector<Shape> Shapes(const BenchmarkSpec& spec, const Servable& servable) {
    const auto inputs = InputsOf(spec, servable);
    EXPECT_TRUE(inputs.ok()) << inputs.status();
    std::vector<Shape> shapes;
    for (const TensorSpec& input : *inputs) shapes.push_back(input.shape);
    return shapes;
  }

  ServerMetrics metrics_{{"0", "0"}};
};

TEST_F(SpecTest, NumbersOutOfRangeAreNamedWithTheRange) {
  const Servable cat = Make(EchoSignature(3));
  const auto check = [&](BenchmarkSpec spec) { return CheckNumbers(spec, cat, 2); };
  EXPECT_TRUE(check({}).ok());
  const struct {
    BenchmarkSpec spec;
    const char* message;
  } cases[] = {
      {{.batch_size = 0}, "batch_size: got 0, expected 1 to 1024"},
      {{.batch_size = 1025}, "batch_size: got 1025, expected 1 to 1024"},
      {{.warm_up = -1}, "warm_up: got -1, expected 0 to 10000"},
      {{.warm_up = 10'001}, "warm_up: got 10001, expected 0 to 10000"},
      {{.repeats = 0}, "repeats: got 0, expected 1 to 1000000"},
      {{.repeats = 1'000'001}, "repeats: got 1000001, expected 1 to 1000000"},
      {{.duration = milliseconds(0)}, "duration_ms: got 0, expected 1 to 600000 (10 minutes)"},
      {{.duration = milliseconds(600'001)}, "duration_ms: got 600001, expected 1 to 600000"},
      {{.repeats = 1, .duration = milliseconds(1)}, "got both repeats and duration_ms"},
      {{.concurrency = 0}, "concurrency: got 0, expected 1 to 2 (the executors there are)"},
      {{.concurrency = 3}, "concurrency: got 3, expected 1 to 2 (the executors there are)"},
  };
  for (const auto& test : cases) EXPECT_THAT(Wrong(check(test.spec)), HasSubstr(test.message));
  for (const BenchmarkSpec& good :
       {BenchmarkSpec{.batch_size = 1024, .warm_up = 10'000, .repeats = 1'000'000},
        BenchmarkSpec{.warm_up = 0, .duration = std::chrono::minutes(10), .concurrency = 2},
        BenchmarkSpec{.duration = milliseconds(1)}, BenchmarkSpec{.repeats = 1}}) {
    EXPECT_TRUE(check(good).ok()) << check(good);
  }
}

TEST_F(SpecTest, TheModelsOwnLimitOfExecutorsHolds) {
  ModelConfig config;
  config.queue.executors_max = 2;
  EXPECT_THAT(Wrong(CheckNumbers({.concurrency = 3}, Make(EchoSignature(3), config), 4)),
              HasSubstr("expected 1 to 2 (queue.executors_max of the model)"));
}

TEST_F(SpecTest, OpenSizesAreFilledAsSaidOrAsUsual) {
  const Servable picture = Make(Picture());
  EXPECT_THAT(Shapes({}, picture), ElementsAre(Shape({3, 224, 224})));
  EXPECT_THAT(Shapes({.length = 64}, picture), ElementsAre(Shape({3, 64, 64})));
  EXPECT_THAT(Shapes({.shapes = {{"", {3, 32, 48}}}}, picture), ElementsAre(Shape({3, 32, 48})));
  const Servable numbers = Make(Text());
  EXPECT_THAT(Shapes({}, numbers), ElementsAre(Shape({16}), Shape({16})));
  EXPECT_THAT(Shapes({.length = 5, .shapes = {{"mask", {7}}}}, numbers),
              ElementsAre(Shape({5}), Shape({7})));
}

// The ids had 16 then and the mask 128, and the run failed in the midst of the model.
TEST_F(SpecTest, TheLengthOfOneInputIsThatOfTheOthers) {
  ModelConfig config;
  config.text = TextConfig();
  EXPECT_THAT(Shapes({.shapes = {{"ids", {16}}}}, Make(Text(), config)),
              ElementsAre(Shape({16}), Shape({16})));
  EXPECT_THAT(Shapes({.shapes = {{"mask", {7}}}}, Make(Text())),
              ElementsAre(Shape({7}), Shape({7})));
  ModelSignature three = Text();
  three.inputs.push_back({"kinds", DataType::kInt64, {-1}});
  const Servable texts = Make(three, config);
  EXPECT_EQ(
      Wrong(InputsOf({.shapes = {{"ids", {16}}, {"mask", {32}}}}, texts).status()),
      "shapes: got the sizes 16, 32; expected a shape for input kinds int64[-1] as well, or a "
      "length");
  EXPECT_THAT(Shapes({.shapes = {{"ids", {16}}, {"mask", {32}}, {"kinds", {8}}}}, texts),
              ElementsAre(Shape({16}), Shape({32}), Shape({8})));
  ModelSignature beside = Picture();
  beside.inputs.push_back({"facts", DataType::kFloat32, {-1}});
  EXPECT_THAT(Shapes({.shapes = {{"facts", {9}}}}, Make(beside)),
              ElementsAre(Shape({3, 224, 224}), Shape({9})));
  EXPECT_THAT(Shapes({.shapes = {{"picture", {3, 32, 48}}}}, Make(beside)),
              ElementsAre(Shape({3, 32, 48}), Shape({16})));
}

TEST_F(SpecTest, TextsAreAsLongAsTheirModelAllows) {
  ModelConfig config;
  config.text = TextConfig();
  EXPECT_THAT(Shapes({}, Make(Text(), config)), ElementsAre(Shape({128}), Shape({128})));
  config.text->tokens_max = 96;
  const Servable text = Make(Text(), config);
  EXPECT_THAT(Shapes({}, text), ElementsAre(Shape({96}), Shape({96})));
  EXPECT_THAT(Wrong(InputsOf({.length = 97}, text).status()),
              HasSubstr("input 'ids': got a size of 97, expected 1 to 96 (text.tokens_max"));
}

TEST_F(SpecTest, ShapesThatTheModelDoesNotTakeAreRefused) {
  const Servable fixed = Make(EchoSignature(3));
  const Servable picture = Make(Picture());
  const Servable text = Make(Text());
  const auto wrong = [](const BenchmarkSpec& spec, const Servable& servable) {
    return Wrong(InputsOf(spec, servable).status());
  };
  EXPECT_THAT(wrong({.length = 32}, fixed),
              HasSubstr("length: got 32, but model 'cat' leaves no size open: x float32[3]"));
  EXPECT_THAT(wrong({.length = 0}, text), HasSubstr("got a size of 0, expected 1 to "));
  EXPECT_THAT(wrong({.shapes = {{"picture", {4, 32, 32}}}}, picture),
              HasSubstr("input 'picture': got shape [4,32,32], the model takes [3,-1,-1]"));
  EXPECT_THAT(wrong({.shapes = {{"picture", {3, 32}}}}, picture), HasSubstr("got shape [3,32]"));
  EXPECT_THAT(wrong({.shapes = {{"picture", {3, 0, 32}}}}, picture), HasSubstr("a size of 0"));
  EXPECT_THAT(wrong({.shapes = {{"dog", {1}}}}, fixed),
              HasSubstr("model 'cat' has no input 'dog'; expected x float32[3]"));
  EXPECT_THAT(wrong({.shapes = {{"", {1}}}}, text), HasSubstr("has no input ''"));
}

TEST_F(SpecTest, TooManyBytesAreRefusedBeforeTheyAreTaken) {
  const Servable picture = Make(Picture());
  EXPECT_TRUE(InputsOf({.batch_size = 400}, picture).ok());
  EXPECT_THAT(Wrong(InputsOf({.batch_size = 1024}, picture).status()),
              HasSubstr("1024 times picture float32[3,224,224], take more than 268435456 bytes"));
  for (const int64_t huge : {int64_t{100'000}, int64_t{1} << 31}) {
    EXPECT_THAT(Wrong(InputsOf({.length = huge}, picture).status()), HasSubstr("268435456 bytes"));
  }
  EXPECT_THAT(Wrong(InputsOf({.length = (int64_t{1} << 31) + 1}, picture).status()),
              HasSubstr("expected 1 to 2147483648"));
}

TEST_F(SpecTest, OnlyPlansThatTheModelMayHaveAreLoaded) {
  ModelConfig config;
  config.plans_forbidden = {Plan::kGraph};
  const Servable cat = Make(EchoSignature(3), config);  // Runs frozen.
  EXPECT_EQ(*PlanToLoad({}, cat), std::nullopt);
  EXPECT_EQ(*PlanToLoad({.plan = "frozen"}, cat), std::nullopt);
  EXPECT_EQ(*PlanToLoad({.plan = "onednn"}, cat), Plan::kOneDnn);
  EXPECT_THAT(Wrong(PlanToLoad({.plan = "fast\n"}, cat).status()),
              StartsWith("plan: got 'fast\\n', expected saved, frozen, "));
  EXPECT_THAT(Wrong(PlanToLoad({.plan = "package"}, cat).status()), HasSubstr("is TorchScript"));
  Servable both = Make(EchoSignature(3), config);
  both.folder.model_file = "model.pt";
  both.folder.package_file = "model.pt2";
  EXPECT_EQ(*PlanToLoad({.plan = "package"}, both), Plan::kPackage);
  const absl::Status forbidden = PlanToLoad({.plan = "graph"}, cat).status();
  EXPECT_EQ(forbidden.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(forbidden.message()), HasSubstr("'graph' is forbidden"));
}

}  // namespace
}  // namespace torchd
