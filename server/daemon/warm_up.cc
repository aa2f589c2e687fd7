#include "server/daemon/warm_up.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "server/inference/trial_row.h"

namespace torchd {
absl::Status WarmUp(Model& model, Executors& executors, int runs) {
  const std::vector<Tensor> ones = TrialRow(model.signature().inputs);
  RowInputs row;
  for (const Tensor& tensor : ones) row.push_back(tensor.View());
  absl::Mutex mutex;
  absl::Status first_error;
  executors.RunOnEach([&] {
    const RowInputs* rows = &row;
    for (int i = 0; i < runs; ++i) {
      std::vector<Tensor> outputs;
      const absl::Status ran = model.Run(absl::MakeConstSpan(&rows, 1), outputs);
      if (ran.ok()) continue;
      absl::MutexLock lock(&mutex);
      first_error.Update(absl::Status(ran.code(), absl::StrCat("warming up: ", ran.message())));
      return;
    }
  });
  return first_error;
}

}  // namespace torchd
