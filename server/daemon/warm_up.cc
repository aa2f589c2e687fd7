#include "server/daemon/warm_up.h"

#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"

namespace torchd {
namespace {

constexpr int64_t kAnyLength = 16;  // Stands for -1.

std::vector<Tensor> Zeros(const ModelSignature& signature) {
  std::vector<Tensor> row;
  for (const TensorSpec& input : signature.inputs) {
    Tensor tensor;
    tensor.type = input.type;
    for (const int64_t size : input.shape) tensor.shape.push_back(size < 0 ? kAnyLength : size);
    tensor.bytes.resize(BytesOf(tensor.type, tensor.shape).value_or(0));
    row.push_back(std::move(tensor));
  }
  return row;
}

}  // namespace

absl::Status WarmUp(Model& model, Executors& executors, int runs) {
  const std::vector<Tensor> zeros = Zeros(model.signature());
  RowInputs row;
  for (const Tensor& tensor : zeros) row.push_back(tensor.View());
  absl::Mutex mutex;
  absl::Status first_error;
  executors.RunOnEach([&] {
    const RowInputs* rows = &row;
    for (int i = 0; i < runs; ++i) {
      std::vector<Tensor> outputs;
      const absl::Status ran = model.Run(absl::MakeConstSpan(&rows, 1), outputs);
      if (ran.ok()) continue;
      absl::MutexLock lock(&mutex);
      first_error.Update(ran);
      return;
    }
  });
  return first_error;
}

}  // namespace torchd
