// The threads of one device that run models, and the scheduler they share. Nothing else runs a
// model.
//
// Work-conserving: an idle executor takes a request the moment it is submitted.
//
// Thread-safety: all methods.
// Ownership: a submitted request is owned until its completion has returned. The destructor runs
// what was accepted, then joins.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/base/clock.h"
#include "server/batching/request.h"
#include "server/batching/scheduler.h"

namespace torchd {

class Executors {
 public:
  struct Options {
    std::string device = "cpu";  // Names the threads.
    int threads = 1;             // Executors; each may open an OpenMP team of its own.
    // Runs first on each executor's thread, before any model: sizes its OpenMP team, flushes
    // denormals.
    std::function<void()> prepare_thread = [] {};
    // A run shorter than waking a thread is done by whoever submits it, in the place of an executor
    // that is idle. Runs first on each such thread; empty: never.
    std::function<void()> prepare_guest = {};
  };

  Executors(Options options, const Clock& clock);
  ~Executors();

  // Moves from `request` only when it returns OK. Refuses as Scheduler::Push() says.
  absl::Status Submit(std::unique_ptr<Request>&& request) ABSL_LOCKS_EXCLUDED(mutex_);

  // Runs `task` once on each executor's thread, between requests, and returns when all have:
  // warming up. What waits then has an executor for as long as its last task took. Leaves out those
  // whose present run takes longer than `wait_max`. Returns how many ran it. Must not be called on
  // an executor's thread.
  int RunOnEach(const std::function<void()>& task, Duration wait_max = std::chrono::hours(24))
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Runs `task` again and again on `executors` of the threads at once, until it says false there,
  // or `go_on` does, which the calling thread asks every 10 ms: then none begins that has not
  // begun, and it returns when none runs any more. A row waits for one run of it at most: then rows
  // have the executor, as long as any wait, for kRowsShare times what that took. Returns how many
  // runs of rows went before one of its own. Must not be called on an executor's thread.
  static constexpr int kRowsShare = 4;
  int64_t RunInTurns(int executors, const std::function<bool()>& task,
                     const std::function<bool()>& go_on) ABSL_LOCKS_EXCLUDED(mutex_);

  int rows_waiting() const ABSL_LOCKS_EXCLUDED(mutex_);
  int RowsWaiting(const Lane& lane) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Of those, what would run before a row that comes now.
  int RowsBefore(const Lane& lane, Priority priority, uint64_t client) const
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Executors whose present run began before `start`.
  int BusySince(Instant start) const;

  int rows_running() const { return rows_running_.load(std::memory_order_relaxed); }
  int64_t rows_run() const { return rows_run_.load(std::memory_order_relaxed); }
  const Options& options() const { return options_; }

 private:
  // One RunOnEach() or RunInTurns().
  struct Round {
    explicit Round(std::function<bool()> made_task) : task(std::move(made_task)) {}

    const std::function<bool()> task;  // Whether it is to run there again.
    int rows_share = 1;                // How long rows go first after it, in times of its own.
    int waiting = 0;                   // Executors that are to begin it.
    int running = 0;
    int done = 0;  // Times that it ran.
    int64_t rows_went_first = 0;
    bool withdrawn = false;  // It does not begin any more.

    bool over() const { return waiting == 0 && running == 0; }
  };
  struct Work {
    Round* round = nullptr;
    Batch batch;
    Dropped dropped;
    bool end = false;
  };

  // The executor whose place the caller takes; -1: none.
  int Borrow(const Lane& lane, const ShapeClass& shape) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunAsGuest(int self, Work work) ABSL_LOCKS_EXCLUDED(mutex_);
  void Serve(int self) ABSL_LOCKS_EXCLUDED(mutex_);
  // `answering`: what this one's last run took beyond itself.
  Work Take(int self, Duration answering) ABSL_LOCKS_EXCLUDED(mutex_);
  bool OverSoon(Round& round) ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<size_t> LeastBusy(int count) const;
  void Queue(size_t executor, Round& round) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // It is nobody's any more once this returns.
  void Withdraw(Round& round) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Work TakeRound(int self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunRound(int self, Round& round) ABSL_LOCKS_EXCLUDED(mutex_);
  void WaitForWork(int self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WakeExecutor() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WakeSweeper() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Sweep() ABSL_LOCKS_EXCLUDED(mutex_);

  // When the run itself ended.
  Instant Run(Batch& batch);
  void RunOneByOne(Batch& batch);
  absl::Status RunRows(Lane& lane, const std::vector<const RowInputs*>& rows, RunTimes& times,
                       std::vector<Tensor>& outputs);
  void Answer(Dropped& dropped) const;
  // Has the sweeper answer them: an executor has better things to do.
  void HandOver(Dropped& dropped) ABSL_LOCKS_EXCLUDED(mutex_);

  const Options options_;
  const Clock& clock_;
  std::atomic<int> rows_running_{0};
  std::atomic<int64_t> rows_run_{0};

  std::vector<std::atomic<Instant>> running_since_;  // Per executor; kNever: idle.

  mutable absl::Mutex mutex_;
  absl::CondVar work_or_stop_;
  absl::CondVar sweep_or_stop_;
  absl::CondVar round_over_;
  Scheduler scheduler_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::deque<Round*>> rounds_ ABSL_GUARDED_BY(mutex_);  // Per executor.
  enum class State { kBusy, kIdle, kLent };  // kLent: a guest runs in its place.
  std::vector<State> states_ ABSL_GUARDED_BY(mutex_);
  int idle_ ABSL_GUARDED_BY(mutex_) = 0;  // Of the states.
  // Per executor: rows go before tasks until then.
  std::vector<Instant> rows_first_until_ ABSL_GUARDED_BY(mutex_);
  Duration round_took_ ABSL_GUARDED_BY(mutex_){0};  // The last task, wherever it ran.
  Dropped to_answer_ ABSL_GUARDED_BY(mutex_);       // By the sweeper.
  Instant sweeper_wakes_ ABSL_GUARDED_BY(mutex_) = kNever;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
  std::thread sweeper_;
};

}  // namespace torchd
