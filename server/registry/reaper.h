// Destroys versions on a thread of its own: the last to hold one may be an executor or one of
// gRPC's threads, and giving a model's memory back takes milliseconds.
//
// Thread-safety: all methods. The destructor destroys what was handed over, then joins.
#pragma once

#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/base/thread_pool.h"
#include "server/registry/servable.h"

namespace torchd {

class Reaper {
 public:
  Reaper();
  ~Reaper();

  // A handle whose servable is destroyed on the reaper's thread, however late the last copy goes;
  // then `gone` runs there. After the reaper's own end: on the thread of whoever lets go, and
  // without `gone`.
  ModelHandle Own(std::unique_ptr<Servable> servable, std::function<void()> gone);

 private:
  // Outlives the reaper in the handles that do.
  struct Link {
    absl::Mutex mutex;
    ThreadPool* pool ABSL_GUARDED_BY(mutex) = nullptr;
  };
  static void Destroy(Servable* servable, const std::shared_ptr<Link>& link,
                      const std::function<void()>& gone);

  std::shared_ptr<Link> link_;
  std::unique_ptr<ThreadPool> pool_;
};

}  // namespace torchd
