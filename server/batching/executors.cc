#include "server/batching/executors.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/types/span.h"
#include "server/base/log.h"
#include "server/base/thread_pool.h"

namespace torchd {
namespace {

// Row 0 of each output, without the batch dimension.
std::vector<TensorView> FirstRows(const std::vector<Tensor>& outputs) {
  std::vector<TensorView> rows;
  rows.reserve(outputs.size());
  for (const Tensor& output : outputs) {
    TensorView row = output.View();
    row.shape.erase(row.shape.begin());
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

Executors::Executors(Options options, const Clock& clock)
    : options_(std::move(options)),
      clock_(clock),
      running_since_(static_cast<size_t>(options_.threads)),
      queue_(options_.queue) {
  const auto count = static_cast<size_t>(options_.threads);
  for (auto& since : running_since_) since = kNever;
  {
    absl::MutexLock lock(&mutex_);
    tasks_.resize(count);
  }
  for (size_t i = 0; i < count; ++i) {
    threads_.emplace_back([this, i] { Work(i); });
  }
}

Executors::~Executors() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    work_or_stop_.SignalAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

absl::Status Executors::Submit(std::unique_ptr<Request>&& request) {
  absl::MutexLock lock(&mutex_);
  absl::Status pushed = queue_.Push(std::move(request), clock_.Now());
  if (pushed.ok()) work_or_stop_.Signal();
  return pushed;
}

void Executors::RunOnEach(const std::function<void()>& task) {
  absl::BlockingCounter left(static_cast<int>(threads_.size()));
  {
    absl::MutexLock lock(&mutex_);
    for (auto& tasks : tasks_) {
      tasks.emplace_back([&] {
        task();
        left.DecrementCount();
      });
    }
    work_or_stop_.SignalAll();
  }
  left.Wait();
}

int Executors::BusySince(Instant start) const {
  return static_cast<int>(
      std::count_if(running_since_.begin(), running_since_.end(),
                    [start](const auto& since) { return since.load() < start; }));
}

int Executors::rows_waiting() const {
  absl::MutexLock lock(&mutex_);
  return queue_.rows_waiting();
}

void Executors::Work(size_t self) {
  NameThisThread(absl::StrCat("exec-", options_.device, "-", self));
  options_.prepare_thread();
  while (true) {
    BatchQueue::Due due;
    std::function<void()> task;
    {
      absl::MutexLock lock(&mutex_);
      while (queue_.rows_waiting() == 0 && tasks_[self].empty() && !stopping_) {
        work_or_stop_.Wait(&mutex_);
      }
      if (!tasks_[self].empty()) {
        task = std::move(tasks_[self].front());
        tasks_[self].pop_front();
      } else if (queue_.rows_waiting() > 0) {
        due = queue_.Pop(clock_.Now());
      } else {
        return;
      }
    }
    if (task || due.run != nullptr) running_since_[self] = clock_.Now();
    if (task) task();
    DropAll(due);
    if (due.run != nullptr) Run(*due.run);
    running_since_[self] = kNever;
  }
}

void Executors::Run(Request& request) {
  RunTimes times;
  times.admitted = request.admitted;
  times.started = clock_.Now();
  times.batch_rows = 1;
  const RowInputs* row = &request.inputs;
  std::vector<Tensor> outputs;
  rows_running_.fetch_add(1, std::memory_order_relaxed);
  const absl::Status ran = request.model->Run(absl::MakeConstSpan(&row, 1), outputs);
  times.finished = clock_.Now();
  rows_running_.fetch_sub(1, std::memory_order_relaxed);
  rows_run_.fetch_add(1, std::memory_order_relaxed);
  request.done(ran, ran.ok() ? FirstRows(outputs) : std::vector<TensorView>(), times);
}

void Executors::DropAll(BatchQueue::Due& due) {
  const Instant now = clock_.Now();
  const auto drop = [&](Request& request, const absl::Status& why) {
    RunTimes times;
    times.admitted = request.admitted;
    times.started = times.finished = now;
    request.done(why, {}, times);
  };
  for (const auto& request : due.expired) {
    drop(*request, absl::DeadlineExceededError("the deadline passed while the request queued"));
  }
  for (const auto& request : due.cancelled) {
    drop(*request, absl::CancelledError("the caller cancelled while the request queued"));
  }
}

}  // namespace torchd
