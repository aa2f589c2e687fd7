#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/script.h>

#include <cmath>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/execution/torch_plan.h"

namespace torchd {
namespace {

using ::testing::HasSubstr;

// A network by what it does to `x`, a picture of 3 channels and 14 x 14 pixels, which `stem` has
// made one of 32. It ends as rows.
struct Case {
  const char* name;
  const char* body;
};

torch::jit::Module MakeModule(const std::string& body) {
  at::manual_seed(3);
  torch::jit::Module module("Network");
  const auto add = [&](const char* name, at::IntArrayRef sizes) {
    module.register_parameter(name, at::randn(sizes) * 0.2, false);
  };
  add("stem", {32, 3, 3, 3});
  add("w1", {32, 32, 1, 1});
  add("w3", {32, 32, 3, 3});
  add("to20", {20, 32, 1, 1});
  add("to48", {48, 32, 3, 3});
  add("deep", {32, 1, 3, 3});
  add("grouped", {32, 8, 3, 3});
  add("b", {32});
  add("scale", {32});
  add("shift", {32});
  add("mean", {32});
  module.register_parameter("variance", at::rand({32}) + 0.5, false);
  add("scores", {7, 32});
  add("wide", {7, 32 * 14 * 14});
  std::string program =
      "def forward(self, image):\n"
      "    x = torch.conv2d(image, self.stem, self.b, padding=[1, 1])\n";
  program += body;
  program += "\n    return torch.linear(x.mean([2, 3]), self.scores)\n";
  if (body.find("return") != std::string::npos) {
    program =
        "def forward(self, image):\n"
        "    x = torch.conv2d(image, self.stem, self.b, padding=[1, 1])\n" +
        body + "\n";
  }
  module.define(program);
  module.eval();
  return module;
}

const Case kCases[] = {
    {"relu", "    x = torch.relu(x)"},
    {"clip", "    x = torch.hardtanh(x, -0.1, 0.2)"},
    {"sigmoid",
     "    x = torch.sigmoid(torch.conv2d(x, self.to20))\n    x = torch.cat([x, x[:, "
     ":12]], 1)"},
    {"silu", "    x = torch.silu(x)"},
    {"hard", "    x = torch.hardswish(x) * torch.hardsigmoid(x)"},
    {"gelu", "    x = torch.gelu(x)"},
    {"norm",
     "    x = torch.batch_norm(x, self.scale, self.shift, self.mean, self.variance, False, 0.1, "
     "1e-5, False)\n    x = torch.relu(x)"},
    {"norm_of_pool",
     "    x = torch.max_pool2d(x, [2, 2])\n    x = torch.batch_norm(x, self.scale, self.shift, "
     "self.mean, self.variance, False, 0.1, 1e-5, False)\n    x = torch.relu_(x)"},
    {"norm_sigmoid",
     "    x = torch.max_pool2d(x, [2, 2])\n    x = torch.batch_norm(x, None, None, self.mean, "
     "self.variance, False, 0.1, 1e-5, False)\n    x = torch.sigmoid(x)"},
    {"strided", "    x = torch.conv2d(x, self.w3, None, [2, 2], [1, 1], [2, 2])"},
    {"depthwise", "    x = torch.conv2d(x, self.deep, self.b, [1, 1], [1, 1], [1, 1], 32)"},
    {"grouped", "    x = torch.conv2d(x, self.grouped, self.b, [1, 1], [1, 1], [1, 1], 4)"},
    {"grouped_residual",
     "    x = torch.relu(torch.conv2d(x, self.grouped, self.b, [1, 1], [1, 1], [1, 1], 4) + x)"},
    {"residual", "    x = torch.relu(torch.conv2d(x, self.w3, self.b, [1, 1], [1, 1]) + x)"},
    {"residual_needed_later",
     "    y = torch.conv2d(x, self.w3, self.b, [1, 1], [1, 1])\n    y += x\n    x = torch.relu(y) "
     "* x"},
    {"residual_of_both",
     "    y = torch.conv2d(x, self.w1)\n    z = torch.conv2d(x, self.w3, None, [1, 1], [1, 1])\n  "
     "  x = torch.relu(y + z)"},
    {"residual_of_itself", "    x = torch.conv2d(x, self.w1)\n    x = x + x"},
    {"chain",
     "    for i in range(1):\n        x = torch.relu(torch.conv2d(x, self.w1) + x)\n    x = "
     "torch.relu(torch.conv2d(torch.relu(torch.conv2d(x, self.w1)), self.w1) + x)\n    x = "
     "torch.relu(torch.conv2d(torch.relu(torch.conv2d(x, self.w1)), self.w1) + x)"},
    {"max_pool_up", "    x = torch.max_pool2d(x, [3, 3], [2, 2], [0, 0], [1, 1], True)"},
    {"max_pool", "    x = torch.max_pool2d(x, [3, 3], [2, 2], [1, 1])"},
    {"mean_pool", "    x = torch.avg_pool2d(x, [3, 3], [2, 2], [1, 1], False, True)"},
    {"mean_pool_without_padding",
     "    x = torch.avg_pool2d(x, [3, 3], [2, 2], [1, 1], False, "
     "False)"},
    {"mean_pool_up", "    x = torch.avg_pool2d(x, [3, 3], [2, 2], [0, 0], True, False)"},
    {"adaptive", "    x = torch.adaptive_avg_pool2d(x, [7, 7])"},
    {"excite",
     "    s = torch.adaptive_avg_pool2d(x, [1, 1])\n    s = torch.sigmoid(torch.conv2d(s, "
     "self.w1))\n    x = s * x"},
    {"joined",
     "    a = torch.relu(torch.conv2d(x, self.w1))\n    c = torch.conv2d(x, self.to48, None, [1, "
     "1], [1, 1])\n    x = torch.cat([a, c, x], 1)\n    x = x[:, 20:52]"},
    {"joined_unaligned",
     "    a = torch.conv2d(x, self.to20)\n    c = torch.conv2d(x, self.to48, None, [1, 1], [1, "
     "1])\n    y = torch.cat([a, c, a], 1)\n    x = y[:, 13:45] + y[:, -32:]"},
    {"dense",
     "    a = torch.cat([x, torch.conv2d(x, self.w1)], 1)\n    y = torch.conv2d(torch.relu(a[:, "
     "16:48]), self.w1)\n    c = torch.cat([a, y], 1)\n    x = torch.relu(c[:, 64:]) + "
     "torch.relu(a[:, :32])"},
    {"joined_then_changed",
     "    a = torch.conv2d(x, self.w1)\n    c = torch.cat([x, a], 1)\n    a = torch.conv2d(a, "
     "self.w1) + a\n    x = torch.relu(c)[:, :32] + a + c[:, 32:]"},
    {"shuffle",
     "    n, c, h, w = x.size()\n    x = x.view(n, 4, c // 4, h, w).transpose(1, "
     "2).contiguous().view(n, c, h, w)\n    a, d = x.chunk(2, 1)\n    x = torch.cat([d, "
     "torch.relu(a)], 1)"},
    {"split", "    a, c = x.split([12, 20], 1)\n    x = torch.cat([c, a], 1).narrow(1, 0, 32)"},
    {"numbers", "    x = x * 0.5 + 1.5"},
    {"branch", "    if x.size(2) > 3:\n        x = torch.relu(x)\n    else:\n        x = x + 1"},
    {"flatten", "    return torch.linear(torch.flatten(torch.relu(x), 1), self.wide)"},
    {"flatten_then_relu",
     "    return torch.relu(torch.linear(torch.dropout(x.flatten(1), 0.5, False), self.wide))"},
    {"tuple",
     "    y = torch.linear(x.mean([2, 3]), self.scores)\n    return y, torch.relu(torch.linear("
     "torch.adaptive_avg_pool2d(x, 1).view(x.size(0), -1), self.scores))"},
};

class DirectPlanTest : public ::testing::TestWithParam<Case> {
 private:
  const c10::InferenceMode inference_mode_;
};

std::vector<at::Tensor> TensorsOf(const c10::IValue& value) {
  if (value.isTensor()) return {value.toTensor()};
  std::vector<at::Tensor> tensors;
  for (const c10::IValue& one : value.toTupleRef().elements()) tensors.push_back(one.toTensor());
  return tensors;
}

void ExpectSame(TorchPlan& plan, TorchPlan& saved, const at::Tensor& image) {
  const std::vector<at::Tensor> expected = TensorsOf(saved.Run({image}));
  const std::vector<at::Tensor> got = TensorsOf(plan.Run({image}));
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_TRUE(at::allclose(got[i], expected[i], 1e-4, 1e-5)) << image.sizes();
  }
}

TEST_P(DirectPlanTest, AnswersAsTheSavedModel) {
  const torch::jit::Module module = MakeModule(GetParam().body);
  const auto saved = MakeTorchPlan(module, Plan::kSaved);
  const auto plan = MakeTorchPlan(module, Plan::kDirect);
  for (const int64_t rows : {1, 3, 1}) ExpectSame(*plan, *saved, at::randn({rows, 3, 14, 14}));
}

INSTANTIATE_TEST_SUITE_P(Cases, DirectPlanTest, ::testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

TEST(DirectPlanRunsTest, FromManyThreadsAtOnce) {
  const c10::InferenceMode inference_mode;
  const torch::jit::Module module =
      MakeModule("    x = torch.relu(torch.conv2d(x, self.w3, self.b, [1, 1], [1, 1]) + x)");
  const auto saved = MakeTorchPlan(module, Plan::kSaved);
  const auto plan = MakeTorchPlan(module, Plan::kDirect);
  std::vector<std::pair<at::Tensor, at::Tensor>> known;
  for (int i = 0; i < 4; ++i) {
    const at::Tensor image = at::randn({1 + i % 2, 3, 14, 14});
    known.emplace_back(image, saved->Run({image}).toTensor());
  }
  std::vector<std::thread> threads;
  std::vector<int> wrong(known.size(), 0);
  for (size_t i = 0; i < known.size(); ++i) {
    threads.emplace_back([&, i] {
      const c10::InferenceMode inference_mode_of_thread;
      for (int run = 0; run < 50; ++run) {
        const at::Tensor got = plan->Run({known[i].first}).toTensor();
        if (!at::allclose(got, known[i].second, 1e-4, 1e-5)) ++wrong[i];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, ::testing::Each(0));
}

// What a change in place does to other names of the same memory.
TEST(DirectPlanRunsTest, ChangesInPlaceAreRightOrRefused) {
  const c10::InferenceMode inference_mode;
  int right = 0;
  for (const char* const body :
       {"    x = torch.relu_(x)", "    y = torch.relu_(x)\n    y += 1.0\n    x = x * 2",
        "    y = x[:, :16]\n    torch.relu_(y)\n    x = x * 2",
        "    a, d = x.chunk(2, 1)\n    a += 1.5\n    x = torch.cat([d, x[:, :16]], 1)",
        "    if x.size(0) > 1:\n        y = x.view(x.size())\n        y.relu_()\n    x = x * 2",
        "    l = [x]\n    l += [torch.relu(x)]\n    x = torch.cat(l, 1)[:, :32]",
        "    x = torch.cat([x] * 2, 1)[:, :32]"}) {
    const torch::jit::Module module = MakeModule(body);
    const auto saved = MakeTorchPlan(module, Plan::kSaved);
    for (const int64_t rows : {1, 3}) {
      const at::Tensor image = at::randn({rows, 3, 14, 14});
      at::Tensor got;
      try {
        got = MakeTorchPlan(module, Plan::kDirect)->Run({image}).toTensor();
      } catch (const std::exception&) {
        continue;
      }
      ++right;
      EXPECT_TRUE(at::allclose(got, saved->Run({image}).toTensor(), 1e-4, 1e-5))
          << rows << " rows: " << body;
    }
  }
  EXPECT_GE(right, 2);
}

TEST(DirectPlanRunsTest, WhatIsNoNumberStaysSo) {
  const c10::InferenceMode inference_mode;
  const torch::jit::Module module = MakeModule("    x = torch.relu(x)");
  const auto saved = MakeTorchPlan(module, Plan::kSaved);
  const auto plan = MakeTorchPlan(module, Plan::kDirect);
  for (const float odd : {std::nanf(""), INFINITY, -INFINITY}) {
    at::Tensor image = at::randn({2, 3, 14, 14});
    image[1][2][5][7] = odd;
    EXPECT_TRUE(at::allclose(plan->Run({image}).toTensor(), saved->Run({image}).toTensor(), 1e-4,
                             1e-5, /*equal_nan=*/true));
  }
  ExpectSame(*plan, *saved, at::randn({2, 3, 14, 14}));
}

std::string ErrorOf(const std::string& body) {
  const c10::InferenceMode inference_mode;
  try {
    MakeTorchPlan(MakeModule(body), Plan::kDirect)->Run({at::randn({1, 3, 14, 14})});
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

TEST(DirectPlanErrorsTest, WhatItCannotDoIsNamed) {
  EXPECT_THAT(ErrorOf("    x = torch.cumsum(x, 1)"), HasSubstr("no aten::cumsum"));
  EXPECT_THAT(ErrorOf("    x = torch.relu(x.transpose(2, 3))"),
              HasSubstr("a change of dimensions"));
  EXPECT_THAT(ErrorOf("    if bool(x.mean([2, 3])[0, 0] > 0):\n        x = torch.relu(x)"),
              HasSubstr("no aten::"));
  EXPECT_THAT(ErrorOf("    return x"), HasSubstr("it gives 4 dimensions"));
  EXPECT_THAT(ErrorOf("    x = torch.max_pool2d(x, [15, 15], [2, 2])"), HasSubstr("larger than"));
  EXPECT_THAT(ErrorOf("    x = torch.conv2d(x, self.w3, None, [2, 2], [0, 0], [7, 7])"),
              HasSubstr("larger than"));
  EXPECT_THAT(ErrorOf("    x = torch.avg_pool2d(x, [16, 16], [3, 3])"), HasSubstr("larger than"));
  EXPECT_THAT(ErrorOf("    x = x * torch.rand(1)"), HasSubstr("not the same each time"));
}

}  // namespace
}  // namespace torchd
