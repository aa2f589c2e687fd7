#include "server/registry/reaper.h"

#include <malloc.h>

#include <limits>
#include <utility>

namespace torchd {

Reaper::Reaper()
    : link_(std::make_shared<Link>()),
      pool_(std::make_unique<ThreadPool>("unload",
                                         ThreadPool::Limits{1, std::numeric_limits<int>::max()})) {
  absl::MutexLock lock(&link_->mutex);
  link_->pool = pool_.get();
}

Reaper::~Reaper() {
  {
    absl::MutexLock lock(&link_->mutex);
    link_->pool = nullptr;
  }
  pool_.reset();
}

ModelHandle Reaper::Own(std::unique_ptr<Servable> servable, std::function<void()> gone) {
  return ModelHandle(servable.release(), [link = link_, gone = std::move(gone)](Servable* last) {
    Destroy(last, link, gone);
  });
}

void Reaper::Destroy(Servable* servable, const std::shared_ptr<Link>& link,
                     const std::function<void()>& gone) {
  {
    absl::MutexLock lock(&link->mutex);
    if (link->pool != nullptr) {
      const bool taken = link->pool->Submit([servable, gone] {
        delete servable;
        // What the model had goes back to the machine, not just to the C library.
        malloc_trim(0);
        gone();
      });
      if (taken) return;
    }
  }
  delete servable;
}

}  // namespace torchd
