#include "server/execution/input_guess.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/execution/torch_model.h"
#include "server/execution/torch_runtime.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Modules with the parameter `weight`, and another for the classes, saved without a configuration.
class InputGuessTest : public ::testing::Test {
 protected:
  InputGuessTest() { PrepareLoaderThread(); }

  absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& forward, const Shape& weight,
                                              const Shape& classes = {3, 4}) {
    torch::jit::Module module("Module");
    module.register_parameter("weight", at::ones(weight), false);
    module.register_parameter("classes", at::ones(classes), false);
    module.define(forward + "\n");
    module.save(folder_.Path("model.pt"));
    return TorchModel::Load(folder_.Path("model.pt"), config_);
  }

  // "x float32 [4]", or the error.
  std::string Taken(const std::string& forward, const Shape& weight,
                    const Shape& classes = {3, 4}) {
    const auto model = Load(forward, weight, classes);
    if (!model.ok()) return model.status().ToString();
    std::string text;
    for (const TensorSpec& input : (*model)->signature().inputs) {
      text += input.name + " " + Name(input.type) + " " + ShapeText(input.shape);
    }
    return text;
  }

  const TempFolder folder_;
  ModelConfig config_;
};

TEST_F(InputGuessTest, LinearLayerSaysItsFeatures) {
  EXPECT_EQ(Taken("def forward(self, x): return torch.linear(x, self.weight)", {3, 4}),
            "x float32 [4]");
  EXPECT_EQ(
      Taken("def forward(self, x): return torch.matmul((x / 255).float(), self.weight)", {5, 3}),
      "x float32 [5]");
}

TEST_F(InputGuessTest, ConvolutionSaysItsChannels) {
  const std::string forward =
      "def forward(self, x):\n"
      "    return torch.linear(torch.conv2d(x, self.weight).mean([2, 3]), self.classes)";
  EXPECT_EQ(Taken(forward, {4, 1, 3, 3}), "x float32 [1,224,224]");
  EXPECT_EQ(Taken(forward, {4, 3, 3, 3}), "x float32 [3,224,224]");
}

TEST_F(InputGuessTest, LinearLayerBehindItSaysTheSide) {
  const std::string forward =
      "def forward(self, x):\n"
      "    seen = torch.relu(torch.conv2d(x, self.weight))\n"
      "    return torch.linear(torch.flatten(seen, 1), self.classes)";
  EXPECT_EQ(Taken(forward, {4, 1, 3, 3}, {3, 4 * 26 * 26}), "x float32 [1,28,28]");
  EXPECT_EQ(Taken(forward, {2, 3, 3, 3}, {3, 2 * 30 * 30}), "x float32 [3,32,32]");
}

TEST_F(InputGuessTest, EmbeddingTakesIds) {
  EXPECT_EQ(Taken("def forward(self, words):\n"
                  "    found = torch.embedding(self.weight, words).mean(1)\n"
                  "    return torch.linear(found, self.classes)",
                  {100, 4}),
            "words int64 [-1]");
}

TEST_F(InputGuessTest, NamesOfTextTakeIds) {
  EXPECT_EQ(Taken("def forward(self, input_ids, attention_mask):\n"
                  "    found = torch.embedding(self.weight, input_ids)\n"
                  "    return (found * attention_mask.unsqueeze(2)).mean(1)",
                  {100, 4}),
            "input_ids int64 [-1]attention_mask int64 [-1]");
}

TEST_F(InputGuessTest, ConfigurationWins) {
  config_.inputs = {{"x", "float32", {2, 4}}};
  EXPECT_EQ(Taken("def forward(self, x): return torch.linear(x, self.weight).mean(1)", {3, 4}),
            "x float32 [2,4]");
}

// It was said to take [3,224,224], and failed for reasons of its own.
TEST_F(InputGuessTest, WhatFitsNoGuessIsToBeDeclared) {
  const absl::Status status =
      Load(
          "def forward(self, x):\n"
          "    return torch.linear(torch.conv2d(x, self.weight).flatten(1), self.classes)",
          {1, 1, 3, 3}, {3, 7})
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  const std::string message(status.message());
  EXPECT_THAT(message, HasSubstr("declare it under `inputs:` in model.yaml"));
  EXPECT_THAT(message, HasSubstr("'x' float32 [1,224,224]; 'x' float32 [1,28,28]; "));
  EXPECT_THAT(message, ::testing::Not(HasSubstr("\n")));
}

TEST(UsualInputsTest, PicturesFirstThenIds) {
  const auto usual = UsualInputs({"x"});
  ASSERT_EQ(usual.size(), 3);
  EXPECT_THAT(usual[0][0].shape, ElementsAre(3, 224, 224));
  EXPECT_EQ(usual[2][0].type, DataType::kInt64);
}

TEST(FirstThatRunsTest, LackOfMemoryIsNoWrongGuess) {
  int attempts = 0;
  const auto none = FirstThatRuns(UsualInputs({"x"}), [&](const Inputs&) {
    ++attempts;
    return absl::ResourceExhaustedError("out of memory");
  });
  EXPECT_EQ(none.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(attempts, 1);
}

// An archive may say anything of its example.
TEST(FirstThatRunsTest, RowsBeyondReasonAreNotTried) {
  const auto none = FirstThatRuns({{{"x", DataType::kFloat32, {int64_t{1} << 40}}}},
                                  [](const Inputs&) { return absl::OkStatus(); });
  EXPECT_EQ(none.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace torchd
