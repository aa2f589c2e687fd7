#include "server/classify/prep_queue.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/batching/refusal.h"
#include "server/classify/share.h"

namespace torchd {
namespace {

constexpr Duration kQueueRetry = std::chrono::milliseconds(20);
// As the scheduler has it for rows: without a deadline a task is due after so long.
constexpr Duration kPatience = std::chrono::milliseconds(500);
constexpr int kMeanOf = 8;  // About so many tasks make the mean.

// With what it has waited.
int LevelOf(const PrepTask& task, Instant since, Instant now) {
  const auto level = static_cast<int64_t>(task.priority);
  if (task.ageing <= Duration(0)) return 0;
  return static_cast<int>(std::max<int64_t>(0, level - (now - since) / task.ageing));
}

bool IsGone(const PrepTask& task, Instant now) {
  return task.deadline <= now ||
         (task.cancelled != nullptr && task.cancelled->load(std::memory_order_relaxed));
}

}  // namespace

absl::Status PrepQueue::CheckRoom(uint64_t client) const {
  const int most = limits_.tasks_waiting_max;
  if (waiting() >= most) {
    return Overloaded(Refusal::kQueueFull,
                      absl::StrCat("the preprocessing queue is full: ", waiting(),
                                   " items waiting, at most ", most),
                      kQueueRetry);
  }
  const auto own = clients_.find(client);
  const int held = own == clients_.end() ? 0 : own->second.waiting;
  const int left = most - waiting() - 1;
  if (held > 0 && LeavesTooLittle(held + 1, left)) {
    return Overloaded(
        Refusal::kQueueFull,
        absl::StrCat("the preprocessing queue has no more room for this client: ", held,
                     " of its items are waiting, ", waiting() - held, " of others, at most ", most),
        kQueueRetry);
  }
  return absl::OkStatus();
}

// Of its own client: what is due before it. Others take turns with that, task by task.
PrepQueue::Ahead PrepQueue::AheadOf(const PrepTask& task, const Model& model, Instant due,
                                    Instant now) const {
  const int level = static_cast<int>(task.priority);
  struct Share {
    Ahead all;
    int tasks = 0;
  };
  Ahead ahead;
  std::map<uint64_t, Share> others;
  int own = 0;
  const auto add = [&model](Ahead& to, const Model& of) {
    to.work += of.typical;
    if (&of == &model) to.rows += 1;
  };
  for (const Waiting& one : waiting_) {
    const int its = LevelOf(one.task, one.since, now);
    if (IsGone(one.task, now) || its > level) continue;
    if (its < level) {
      add(ahead, *one.model);
    } else if (one.task.client != task.client) {
      Share& share = others[one.task.client];
      add(share.all, *one.model);
      ++share.tasks;
    } else if (one.due <= due) {
      add(ahead, *one.model);
      ++own;
    }
  }
  for (const auto& entry : others) {
    const Share& share = entry.second;
    const double part = std::min(1.0, (own + 1.0) / share.tasks);
    ahead.work += std::chrono::duration_cast<Duration>(share.all.work * part);
    ahead.rows += share.all.rows * part;
  }
  for (const auto& entry : running_) add(ahead, *entry.second.model);
  return ahead;
}

absl::Status PrepQueue::CheckTime(const PrepTask& task, const Model& model, Instant due,
                                  Instant now, const Runs& runs) const {
  if (task.deadline == kNever) return absl::OkStatus();
  // What is idle takes what comes, whatever was measured before; or a measurement that has become
  // wrong would never be taken again.
  const bool waits = static_cast<int>(running_.size()) + waiting() >= limits_.threads;
  if (!waits && runs.rows_waiting == 0) return absl::OkStatus();
  const Ahead ahead = AheadOf(task, model, due, now);
  const Duration prepared = waits ? ahead.work / limits_.threads + model.typical : Duration(0);
  // What is ahead runs while this is prepared: the slower of the two counts, not their sum.
  const Duration takes = std::max(prepared + runs.time(1),
                                  runs.time(runs.rows_waiting + static_cast<int>(ahead.rows) + 1));
  const Duration left = task.deadline - now;
  if (takes <= left) return absl::OkStatus();
  return Overloaded(
      Refusal::kTooLate,
      absl::StrCat("too much waits: prepared and run, the answer would take about ",
                   Milliseconds(takes), " ms, the deadline is in ", Milliseconds(left), " ms"),
      takes - left);
}

absl::Status PrepQueue::Push(PrepTask&& task, Instant now, const Runs& runs) {
  if (task.deadline <= now) {
    return Refused(Refusal::kDeadline,
                   absl::DeadlineExceededError("the deadline passed before the item was prepared"));
  }
  TORCHD_RETURN_IF_ERROR(CheckRoom(task.client));
  const Model& model = models_[task.model];
  const Instant due = task.deadline == kNever ? now + kPatience : task.deadline;
  TORCHD_RETURN_IF_ERROR(CheckTime(task, model, due, now, runs));
  // Who is new, or is so again, goes just before whoever was served last, not before all others.
  const uint64_t newcomer = turns_ == 0 ? 0 : 2 * turns_ - 1;
  Client& client = clients_.try_emplace(task.client, Client{0, 0, newcomer}).first->second;
  ++client.waiting;
  waiting_.push_back({std::move(task), now, due, ++keys_, &client, &model});
  return absl::OkStatus();
}

std::optional<PrepQueue::Begun> PrepQueue::Pop(Instant now) {
  if (waiting_.empty()) return std::nullopt;
  const auto rank = [now](const Waiting& one) {
    const bool gone = IsGone(one.task, now);
    return std::make_tuple(!gone, LevelOf(one.task, one.since, now), one.client->served, one.due,
                           one.key);
  };
  const auto next = std::min_element(
      waiting_.begin(), waiting_.end(),
      [&](const Waiting& one, const Waiting& other) { return rank(one) < rank(other); });
  Begun begun{std::move(next->task), next->key};
  if (next != waiting_.end() - 1) *next = std::move(waiting_.back());
  waiting_.pop_back();
  Client& client = clients_.at(begun.task.client);
  --client.waiting;
  ++client.running;
  if (!IsGone(begun.task, now)) client.served = 2 * ++turns_;
  running_[begun.key] = {begun.task.client, &models_.at(begun.task.model)};
  return begun;
}

void PrepQueue::Finished(uint64_t key, Duration took) {
  const auto running = running_.find(key);
  const auto client = clients_.find(running->second.client);
  if (--client->second.running == 0 && client->second.waiting == 0) clients_.erase(client);
  Duration& typical = running->second.model->typical;
  if (took > Duration(0)) typical += typical == Duration(0) ? took : (took - typical) / kMeanOf;
  running_.erase(running);
}

}  // namespace torchd
