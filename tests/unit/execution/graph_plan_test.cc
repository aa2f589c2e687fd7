// What LibTorch's own passes before oneDNN Graph get wrong, and the plan `graph` must not.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/script.h>

#include <string>

#include "gtest/gtest.h"
#include "server/execution/torch_plan.h"

namespace torchd {
namespace {

// As a trace keeps numbers: a tensor of one double, without sizes.
torch::jit::Module WithNumber(double number, const std::string& body) {
  torch::jit::Module module("Numbers");
  module.register_parameter("number", at::scalar_tensor(number, at::kDouble), false);
  module.define("def forward(self, input):\n" + body);
  module.eval();
  return module;
}

void ExpectAnswersAsSaved(const torch::jit::Module& module, const at::Tensor& input) {
  const c10::InferenceMode inference_mode;
  const at::Tensor expected = MakeTorchPlan(module, Plan::kSaved)->Run({input}).toTensor();
  const at::Tensor got = MakeTorchPlan(module, Plan::kGraph)->Run({input}).toTensor();
  EXPECT_EQ(got.scalar_type(), expected.scalar_type());
  EXPECT_TRUE(at::allclose(got, expected, 1e-4, 1e-5));
}

TEST(GraphPlanTest, ATracedNumberLeavesFloatsFloats) {
  const auto attention = WithNumber(0.125,
                                    "    scores = torch.matmul(input, input.transpose(1, 2))\n"
                                    "    weights = torch.softmax(scores * self.number, -1)\n"
                                    "    return torch.matmul(weights, input)\n");
  at::manual_seed(5);
  ExpectAnswersAsSaved(attention, at::randn({2, 8, 4}));
}

TEST(GraphPlanTest, ATracedNumberIsAddedSubtractedAndDividedBy) {
  const auto all = WithNumber(0.75,
                              "    hidden = torch.relu(input / self.number + self.number)\n"
                              "    return torch.matmul(hidden - self.number, hidden)\n");
  at::manual_seed(6);
  ExpectAnswersAsSaved(all, at::randn({2, 6, 6}));
}

TEST(GraphPlanTest, ATracedNumberMakesDoublesOfWholeNumbers) {
  const auto scale = WithNumber(0.1, "    return torch.relu(input * self.number)\n");
  ExpectAnswersAsSaved(scale, at::arange(6, at::kLong).reshape({2, 3}));
}

}  // namespace
}  // namespace torchd
