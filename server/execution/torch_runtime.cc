#include "server/execution/torch_runtime.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <malloc.h>
#include <sched.h>
#include <torch/script.h>
#include <torch/version.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "server/base/log.h"
#include "server/direct/libgomp.h"
#include "server/execution/catch_torch.h"
#include "server/execution/executor_memory.h"
#include "server/execution/standard_error_tap.h"

namespace torchd {
namespace {

// The most that mallopt() takes; blocks beyond it come from the kernel and go back to it each time.
constexpr int kMmapThresholdBytes = 32 << 20;
constexpr int kTrimThresholdBytes = 1 << 30;
constexpr int kPauseSoft = 1;  // omp_pause_soft: ends the calling thread's team.

std::atomic<int> g_executor_threads{1};
thread_local bool t_of_loader = false;
thread_local int t_team = 0;            // Of TeamOf; 0: an executor's.
thread_local std::vector<int> t_cores;  // Of the team's threads, where they keep to them.
thread_local int t_kept = 0;            // Threads that do so now.

int TeamOfThisThread() { return t_team > 0 ? t_team : g_executor_threads.load(); }

void KeepToCores(int threads) {
  const auto keep = [](void* cores) {
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(static_cast<const int*>(cores)[omp_get_thread_num()], &own);
    sched_setaffinity(0, sizeof own, &own);  // Not worth an error.
  };
  GOMP_parallel(keep, t_cores.data(), static_cast<unsigned>(threads), 0);
  t_kept = threads;
}

// A thread begins on the core of the one that made it, where both would wait for each other.
void SizeTeam(int threads) {
  omp_set_num_threads(threads);
  if (t_cores.empty() || threads == 1) return;
  if (threads > t_kept) KeepToCores(threads);
  t_kept = threads;
}

}  // namespace

void PrepareTorchProcess() {
  mallopt(M_MMAP_THRESHOLD, kMmapThresholdBytes);
  mallopt(M_TRIM_THRESHOLD, kTrimThresholdBytes);
  // Compiled packages read it once, and without it believe any shape they are given.
  setenv("AOTI_RUNTIME_CHECK_INPUTS", "1", 1);
  InstallStandardErrorTap();
  InstallExecutorMemory();
}

void RunFirstModel() {
  constexpr char kProgram[] = R"(
    def forward(self, ids, image):
        hidden = torch.embedding(self.words, ids).mean(1)
        seen = torch.relu(torch.conv2d(image, self.kernel)).flatten(1)
        return torch.linear(hidden, self.words) + torch.linear(seen, self.scores)
  )";
  const auto ran = CatchTorch("running a first model", [&] {
    const c10::InferenceMode inference_mode;
    torch::jit::Module made("First");
    made.register_parameter("words", at::ones({3, 4}), false);
    made.register_parameter("kernel", at::ones({4, 1, 3, 3}), false);
    made.register_parameter("scores", at::ones({3, 4 * 6 * 6}), false);
    made.define(kProgram);
    made.eval();
    std::stringstream archive;
    made.save(archive);
    torch::jit::Module model = torch::jit::freeze(torch::jit::load(archive));
    const at::Tensor ids = at::ones({1, 2}, c10::kLong);
    const at::Tensor image = at::ones({1, 1, 8, 8});
    for (int run = 0; run < 3; ++run) model.forward({ids, image});  // The second still compiles.
    return true;
  });
  malloc_trim(0);  // What is free would be there for the next model, uncounted.
  if (!ran.ok()) {
    Log(Severity::kWarning, "trials start cold", {{"reason", ran.status().ToString()}});
  }
}

void PrepareExecutorThread(int threads) {
  // Before the team exists: its threads inherit the flag. A tensor of denormals would cost fifty
  // times the time otherwise.
  at::globalContext().setFlushDenormal(true);
  at::internal::lazy_init_num_threads();
  omp_set_num_threads(threads);
  g_executor_threads = threads;
  t_of_loader = false;
  KeepMemoryOfThisThread();
}

void KeepTeamOnCores(int threads, int executor) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &allowed)) cores.push_back(core);
  }
  const auto count = static_cast<size_t>(threads);
  const size_t first = count * static_cast<size_t>(executor);
  if (first + count > cores.size()) return;
  const auto begin = cores.begin() + static_cast<std::ptrdiff_t>(first);
  t_cores.assign(begin, begin + threads);
  KeepToCores(threads);
}

void PrepareLoaderThread() {
  at::globalContext().setFlushDenormal(true);
  // at::set_num_threads() would change the whole process; this is the calling thread alone.
  at::internal::lazy_init_num_threads();
  omp_set_num_threads(1);
  t_of_loader = true;
}

TeamOf::TeamOf(int threads) : before_(t_team) {
  t_team = threads > 0 ? std::min(threads, g_executor_threads.load()) : 0;
  if (!t_of_loader && (t_team > 0 || !t_cores.empty())) SizeTeam(TeamOfThisThread());
}

TeamOf::~TeamOf() {
  const bool changed = t_team != before_;
  t_team = before_;
  if (changed && !t_of_loader) omp_set_num_threads(TeamOfThisThread());
}

void OpenTeamOf(int threads) {
  const TeamOf team(threads);
  const auto nothing = [](void*) {};
  GOMP_parallel(nothing, nullptr, static_cast<unsigned>(TeamOfThisThread()), 0);
}

TeamEndsWithRun::~TeamEndsWithRun() {
  if (!t_of_loader) return;
  omp_pause_resource_all(kPauseSoft);
  omp_set_num_threads(1);
}

TeamToCompileFor::TeamToCompileFor() {
  if (!t_of_loader || TeamOfThisThread() == 1) return;
  omp_set_num_threads(TeamOfThisThread());
  ends_.emplace();
}

bool DevicePoisoned() { return g_device_poisoned; }

std::string LibTorchVersion() { return TORCH_VERSION; }

}  // namespace torchd
