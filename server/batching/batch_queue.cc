#include "server/batching/batch_queue.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace torchd {

absl::Status BatchQueue::Push(std::unique_ptr<Request>&& request, Instant now) {
  if (request->deadline <= now) {
    return absl::DeadlineExceededError("the deadline had passed before the request could queue");
  }
  if (rows_waiting() >= limits_.rows_waiting_max) {
    return absl::ResourceExhaustedError(absl::StrCat("the queue is full: ", rows_waiting(),
                                                     " rows waiting, at most ",
                                                     limits_.rows_waiting_max));
  }
  request->admitted = now;
  waiting_.push_back(std::move(request));
  return absl::OkStatus();
}

BatchQueue::Due BatchQueue::Pop(Instant now) {
  Due due;
  while (!waiting_.empty()) {
    std::unique_ptr<Request> request = std::move(waiting_.front());
    waiting_.pop_front();
    if (request->cancelled != nullptr && request->cancelled->load(std::memory_order_relaxed)) {
      due.cancelled.push_back(std::move(request));
    } else if (request->deadline <= now) {
      due.expired.push_back(std::move(request));
    } else {
      due.run = std::move(request);
      break;
    }
  }
  return due;
}

}  // namespace torchd
