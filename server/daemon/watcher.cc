#include "server/daemon/watcher.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"
#include "server/base/thread_pool.h"

namespace torchd {
namespace {

constexpr Duration kTick = std::chrono::milliseconds(500);

}  // namespace

absl::StatusOr<std::unique_ptr<Watcher>> Watcher::Start(Options options,
                                                        const RepositorySnapshot& known,
                                                        RepositorySource& source,
                                                        Registry& registry, const Clock& clock) {
  FolderWatch::Options watch_options;
  watch_options.inotify = options.watch;
  watch_options.poll_every = options.poll_every;
  TORCHD_ASSIGN_OR_RETURN(std::unique_ptr<FolderWatch> watch,
                          FolderWatch::Create(options.repository, watch_options));
  auto watcher =
      absl::WrapUnique(new Watcher(std::move(options), std::move(watch), source, registry, clock));
  if (watcher->options_.watch) watcher->watch_->Watch(known);
  watcher->thread_ = std::thread([running = watcher.get()] { running->Run(); });
  return watcher;
}

Watcher::Watcher(Options options, std::unique_ptr<FolderWatch> watch, RepositorySource& source,
                 Registry& registry, const Clock& clock)
    : options_(std::move(options)),
      watch_(std::move(watch)),
      source_(source),
      registry_(registry),
      clock_(clock) {}

Watcher::~Watcher() {
  stopping_ = true;
  watch_->Wake();
  if (thread_.joinable()) thread_.join();
}

void Watcher::Run() {
  NameThisThread("watch");
  while (!stopping_) {
    const Instant now = clock_.Now();
    const Instant due = std::min({now + kTick, registry_.NextDueTime(), source_.NextDueTime()});
    const bool changed = watch_->WaitForChange(std::max(due - now, Duration(0)));
    if (stopping_) return;
    options_.tick();
    registry_.Tick();
    if (options_.watch && (changed || clock_.Now() >= source_.NextDueTime())) Rescan();
  }
}

// A repository that cannot be read now (an unmounted disk, say) leaves what serves.
void Watcher::Rescan() {
  const auto seen = source_.Look();
  if (!seen.ok()) {
    if (!warned_) {
      Log(Severity::kWarning, "repository cannot be read",
          {{"reason", std::string(seen.status().message())}});
    }
    warned_ = true;
    return;
  }
  warned_ = false;
  watch_->Watch(*seen);
}

}  // namespace torchd
