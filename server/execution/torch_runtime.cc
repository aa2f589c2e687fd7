#include "server/execution/torch_runtime.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <malloc.h>
#include <torch/version.h>

#include <cstdlib>

#include "server/execution/catch_torch.h"
#include "server/execution/standard_error_tap.h"

// From the libgomp that LibTorch uses; its header comes with g++ only.
extern "C" void omp_set_num_threads(int threads);

namespace torchd {
namespace {

// The most that mallopt() takes; blocks beyond it come from the kernel and go back to it each time.
constexpr int kMmapThresholdBytes = 32 << 20;
constexpr int kTrimThresholdBytes = 1 << 30;

}  // namespace

void PrepareTorchProcess() {
  mallopt(M_MMAP_THRESHOLD, kMmapThresholdBytes);
  mallopt(M_TRIM_THRESHOLD, kTrimThresholdBytes);
  // Compiled packages read it once, and without it believe any shape they are given.
  setenv("AOTI_RUNTIME_CHECK_INPUTS", "1", 1);
  InstallStandardErrorTap();
}

void PrepareExecutorThread(int threads) {
  // Before the team exists: its threads inherit the flag. A tensor of denormals would cost fifty
  // times the time otherwise.
  at::globalContext().setFlushDenormal(true);
  at::internal::lazy_init_num_threads();
  omp_set_num_threads(threads);
}

void PrepareLoaderThread() {
  at::globalContext().setFlushDenormal(true);
  // at::set_num_threads() would change the whole process; this is the calling thread alone.
  at::internal::lazy_init_num_threads();
  omp_set_num_threads(1);
}

bool DevicePoisoned() { return g_device_poisoned; }

std::string LibTorchVersion() { return TORCH_VERSION; }

}  // namespace torchd
