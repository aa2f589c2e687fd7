#include "server/classify/check.h"

#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/fake_model.h"

namespace torchd {
namespace {

using ::testing::HasSubstr;

Servable NewServable(std::vector<TensorSpec> inputs) {
  static ModelMetrics metrics;
  auto preprocessor = Preprocessor::Create({}, inputs, "", {});
  EXPECT_TRUE(preprocessor.ok()) << preprocessor.status();
  ModelSignature signature{std::move(inputs), {{"scores", DataType::kFloat32, {3}}}};
  return {"cat",
          1,
          {},
          {},
          std::make_unique<FakeModel>(std::move(signature)),
          nullptr,
          *std::move(preprocessor),
          metrics};
}

TensorSpec Spec(const std::string& name, const Shape& shape) {
  return {name, DataType::kFloat32, shape};
}

NamedTensor Given(absl::string_view name, const Shape& shape, size_t bytes,
                  DataType type = DataType::kFloat32) {
  static const char kBytes[1024] = {};
  return {name, {type, shape, kBytes, bytes}};
}

std::string Error(const Servable& servable, const TensorItem& item) {
  const auto row = MatchInputs(item, servable);
  EXPECT_EQ(row.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(row.status().message());
}

TEST(CheckItemCountTest, OneToItsMost) {
  EXPECT_TRUE(CheckItemCount(1).ok());
  EXPECT_TRUE(CheckItemCount(64).ok());
  EXPECT_EQ(CheckItemCount(0), absl::InvalidArgumentError("items: got 0, expected 1 to 64"));
  EXPECT_EQ(CheckItemCount(65), absl::InvalidArgumentError("items: got 65, expected 1 to 64"));
}

TEST(ChooseTopKTest, DefaultIsFiveOrTheClassesThereAre) {
  EXPECT_EQ(*ChooseTopK(std::nullopt, EchoSignature(1000)), 5);
  EXPECT_EQ(*ChooseTopK(std::nullopt, EchoSignature(3)), 3);
}

TEST(ChooseTopKTest, AskedForWithinRange) {
  EXPECT_EQ(*ChooseTopK(1, EchoSignature(3)), 1);
  EXPECT_EQ(*ChooseTopK(3, EchoSignature(3)), 3);
  EXPECT_EQ(*ChooseTopK(1000, EchoSignature(21'841)), 1000);
}

TEST(ChooseTopKTest, OutOfRangeNamesTheRange) {
  EXPECT_EQ(ChooseTopK(0, EchoSignature(3)).status(),
            absl::InvalidArgumentError("top_k: got 0, expected 1 to 3"));
  EXPECT_EQ(ChooseTopK(-1, EchoSignature(3)).status(),
            absl::InvalidArgumentError("top_k: got -1, expected 1 to 3"));
  EXPECT_EQ(ChooseTopK(4, EchoSignature(3)).status(),
            absl::InvalidArgumentError("top_k: got 4, expected 1 to 3"));
  EXPECT_EQ(ChooseTopK(1001, EchoSignature(21'841)).status(),
            absl::InvalidArgumentError("top_k: got 1001, expected 1 to 1000"));
}

TEST(MatchInputsTest, TensorsComeInTheOrderOfTheInputs) {
  const Servable servable = NewServable({Spec("a", {2}), Spec("b", {-1})});
  const auto row = MatchInputs({Given("b", {5}, 20), Given("a", {2}, 8)}, servable);
  ASSERT_TRUE(row.ok()) << row.status();
  EXPECT_EQ(row->at(0).shape, Shape({2}));
  EXPECT_EQ(row->at(1).shape, Shape({5}));
}

TEST(MatchInputsTest, LeadingOneIsTheBatch) {
  const Servable servable = NewServable({Spec("x", {3, -1})});
  for (const Shape& shape : {Shape{3, 2}, Shape{1, 3, 2}}) {
    const auto row = MatchInputs({Given("x", shape, 24)}, servable);
    ASSERT_TRUE(row.ok()) << row.status();
    EXPECT_EQ(row->at(0).shape, Shape({3, 2}));
  }
}

TEST(MatchInputsTest, OneInputNeedsNoName) {
  EXPECT_TRUE(MatchInputs({Given("", {2}, 8)}, NewServable({Spec("x", {2})})).ok());
}

TEST(MatchInputsTest, NamesThatDoNotFit) {
  const Servable two = NewServable({Spec("a", {2}), Spec("b", {2})});
  EXPECT_EQ(Error(two, {Given("", {2}, 8)}),
            "a tensor has no name, but model 'cat' has 2 inputs: 'a', 'b'");
  EXPECT_EQ(Error(two, {Given("c\n", {2}, 8)}), "model 'cat' has no input 'c?'; expected 'a', 'b'");
  EXPECT_EQ(Error(two, {Given("a", {2}, 8), Given("a", {2}, 8)}), "input 'a' is given twice");
  EXPECT_EQ(Error(two, {Given("a", {2}, 8)}), "model 'cat' needs input 'b', which is missing");
  EXPECT_EQ(Error(two, {}), "model 'cat' needs input 'a', which is missing");
  const std::string endless(100'000, 'x');
  EXPECT_LT(Error(two, {Given(endless, {2}, 8)}).size(), 200u);
}

TEST(MatchInputsTest, TensorsThatDoNotFit) {
  const Servable servable = NewServable({Spec("x", {3, -1})});
  struct Case {
    NamedTensor tensor;
    std::string message;
  };
  constexpr int64_t kHuge = int64_t{1} << 62;
  const Case cases[] = {
      {Given("x", {3, 2}, 24, DataType::kInt32), "expected float32, got int32"},
      {Given("x", {1, 1, 1, 1, 1, 1, 1, 3, 2}, 24), "got 9 sizes, at most 8"},
      {Given("x", {3}, 12), "expected shape [3,-1] (or with a leading 1), got [3]"},
      {Given("x", {2, 3, 2}, 48), "expected shape [3,-1] (or with a leading 1), got [2,3,2]"},
      {Given("x", {4, 2}, 32), "expected shape [3,-1] (or with a leading 1), got [4,2]"},
      {Given("x", {}, 4), "expected shape [3,-1] (or with a leading 1), got []"},
      {Given("x", {3, 2}, 23), "shape [3,2] of float32 needs 24 bytes, got 23"},
      {Given("x", {1, 3, 2}, 25), "shape [1,3,2] of float32 needs 24 bytes, got 25"},
      {Given("x", {3, kHuge}, 24), "needs too many bytes, got 24"},
      {Given("x", {3, -1}, 12), "got shape [3,-1], expected sizes of at least 1"},
      {Given("x", {3, 0}, 0), "got shape [3,0], expected sizes of at least 1"},
  };
  for (const Case& test : cases) {
    EXPECT_THAT(Error(servable, {test.tensor}), HasSubstr("input 'x': ")) << test.message;
    EXPECT_THAT(Error(servable, {test.tensor}), HasSubstr(test.message));
  }
}

Servable TakesPictures() {
  static ModelMetrics metrics;
  ModelConfig config;
  config.image.emplace().crop = 2;
  const std::vector<TensorSpec> inputs = {ImageInput("image", *config.image)};
  auto preprocessor = Preprocessor::Create(config, inputs, "", {});
  EXPECT_TRUE(preprocessor.ok()) << preprocessor.status();
  ModelSignature signature{inputs, {{"scores", DataType::kFloat32, {3}}}};
  return {"cat",
          1,
          config,
          {},
          std::make_unique<FakeModel>(std::move(signature)),
          nullptr,
          *std::move(preprocessor),
          metrics};
}

TEST(MatchInputsTest, ModelOfPicturesTakesTheirLevels) {
  const Servable servable = TakesPictures();
  for (const Shape& shape : {Shape{3, 2, 2}, Shape{2, 2, 3}, Shape{1, 2, 2, 3}}) {
    const auto row = MatchInputs({Given("", shape, 12, DataType::kUint8)}, servable);
    ASSERT_TRUE(row.ok()) << row.status();
    EXPECT_EQ(row->at(0).pixels, servable.preprocessor.pixels());
    EXPECT_EQ(row->at(0).shape.size(), 3U);
  }
  const auto numbers = MatchInputs({Given("", {3, 2, 2}, 48)}, servable);
  ASSERT_TRUE(numbers.ok()) << numbers.status();
  EXPECT_EQ(numbers->at(0).pixels, nullptr);
  EXPECT_THAT(Error(servable, {Given("", {2, 3, 2}, 12, DataType::kUint8)}),
              HasSubstr("expected float32 [3,2,2], or the levels of a picture as uint8 [2,2,3] or "
                        "[3,2,2] (or with a leading 1), got uint8 [2,3,2]"));
  EXPECT_THAT(
      Error(NewServable({Spec("x", {3, 2, 2})}), {Given("x", {3, 2, 2}, 12, DataType::kUint8)}),
      HasSubstr("expected float32, got uint8"));
}

TEST(ChooseClassesTest, TheCallGoesBeforeTheConfiguration) {
  Servable servable = NewServable({Spec("x", {2})});
  servable.config.activation = Activation::kSigmoid;
  servable.config.threshold = 0.5F;
  ClassifyCall call;
  auto options = ChooseClasses(call, servable);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->activation, Activation::kSigmoid);
  EXPECT_EQ(options->threshold, 0.5F);
  call.softmax = false;
  call.threshold = -1.0F;
  options = ChooseClasses(call, servable);
  EXPECT_EQ(options->activation, Activation::kNone);
  EXPECT_EQ(options->threshold, -1.0F);
  call.activation = Activation::kSoftmax;
  EXPECT_EQ(
      ChooseClasses(call, servable).status(),
      absl::InvalidArgumentError("softmax and activation are both set, expected one of them"));
  call.softmax.reset();
  EXPECT_EQ(ChooseClasses(call, servable)->activation, Activation::kSoftmax);
  call.threshold = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(ChooseClasses(call, servable).status(),
            absl::InvalidArgumentError("threshold: got nan, expected a finite number"));
}

// Several labels may hold: five would be as good as any other number.
TEST(ChooseTopKTest, WithAThresholdAllMayBeAnswered) {
  EXPECT_EQ(*ChooseTopK(std::nullopt, EchoSignature(21'841), true), 1000);
  EXPECT_EQ(*ChooseTopK(std::nullopt, EchoSignature(80), true), 80);
  EXPECT_EQ(*ChooseTopK(7, EchoSignature(80), true), 7);
}

// The work grows with the square of the tokens, whichever way they come.
TEST(MatchInputsTest, TokensHaveTheLimitThatATextHas) {
  Servable servable = NewServable({{"ids", DataType::kInt64, {-1}}});
  EXPECT_TRUE(MatchInputs({Given("ids", {513}, 513 * 8, DataType::kInt64)}, servable).ok());
  servable.config.text = TextConfig{.tokens_max = 512};
  EXPECT_TRUE(MatchInputs({Given("ids", {512}, 512 * 8, DataType::kInt64)}, servable).ok());
  EXPECT_EQ(Error(servable, {Given("ids", {1, 513}, 513 * 8, DataType::kInt64)}),
            "input 'ids': got 513 tokens, at most 512 (text.tokens_max of the model)");
}

}  // namespace
}  // namespace torchd
