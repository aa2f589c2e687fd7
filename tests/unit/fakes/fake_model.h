// A model that gives its first input back as scores, or whatever a test tells it to do.
#pragma once

#include <atomic>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/inference/model.h"

namespace torchd {

inline Tensor FloatTensor(const Shape& shape, const std::vector<float>& values) {
  Tensor tensor;
  tensor.type = DataType::kFloat32;
  tensor.shape = shape;
  tensor.bytes.resize(values.size() * sizeof(float));
  if (!values.empty()) std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

inline TensorView FloatView(const std::vector<float>& values) {
  return {DataType::kFloat32,
          {static_cast<int64_t>(values.size())},
          values.data(),
          values.size() * sizeof(float)};
}

inline std::vector<float> Floats(const TensorView& view) {
  std::vector<float> values(view.bytes / sizeof(float));
  if (view.bytes > 0) std::memcpy(values.data(), view.data, view.bytes);
  return values;
}

// Takes "x", float32 [classes], and gives "scores", float32 [classes].
inline ModelSignature EchoSignature(int64_t classes) {
  return {{{"x", DataType::kFloat32, {classes}}}, {{"scores", DataType::kFloat32, {classes}}}};
}

class FakeModel final : public Model {
 public:
  using OnRun = std::function<absl::Status(const RowInputs& row, std::vector<Tensor>& outputs)>;

  explicit FakeModel(ModelSignature signature = EchoSignature(3), OnRun on_run = Echo)
      : signature_(std::move(signature)), on_run_(std::move(on_run)) {}

  const ModelSignature& signature() const override { return signature_; }
  Plan plan() const override { return by_plan; }
  int threads() const override { return on_threads; }
  int64_t fallbacks() const override { return failed_with.empty() ? 0 : 1; }
  std::string fallback_reason() const override { return failed_with; }
  void TellOfFailedPlan(PlanFailed tell) override { told = std::move(tell); }

  absl::Status Run(absl::Span<const RowInputs* const> rows, std::vector<Tensor>& outputs) override {
    runs.fetch_add(1);
    for (const RowInputs* row : rows) {
      std::vector<Tensor> own;
      const absl::Status ran = on_run_(*row, own);
      if (!ran.ok()) return ran;
      Append(own, outputs);
    }
    return absl::OkStatus();
  }

  static absl::Status Echo(const RowInputs& row, std::vector<Tensor>& outputs) {
    Shape shape = row.at(0).shape;
    shape.insert(shape.begin(), 1);
    outputs.push_back(FloatTensor(shape, Floats(row.at(0))));
    return absl::OkStatus();
  }

  std::atomic<int> runs{0};
  Plan by_plan = kDefaultPlan;
  int on_threads = 0;
  std::string failed_with;  // Empty: its plan has not failed.
  PlanFailed told;

 private:
  // Row by row; the first size counts them.
  static void Append(const std::vector<Tensor>& row, std::vector<Tensor>& outputs) {
    if (outputs.empty()) {
      outputs = row;
      return;
    }
    for (size_t i = 0; i < row.size(); ++i) {
      outputs[i].shape[0] += row[i].shape[0];
      outputs[i].bytes.insert(outputs[i].bytes.end(), row[i].bytes.begin(), row[i].bytes.end());
    }
  }

  const ModelSignature signature_;
  const OnRun on_run_;
};

}  // namespace torchd
