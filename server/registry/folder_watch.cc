#include "server/registry/folder_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/registry/root_folder.h"

namespace torchd {
namespace {

// Contents count when their writer closes them: a growing file is looked at once.
constexpr uint32_t kEvents = IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE |
                             IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB;
constexpr uint32_t kEventsOfParent = IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE;

constexpr int kReadsMax = 64;  // More than the kernel queues; what is left ends the next wait.

Instant Now() { return std::chrono::steady_clock::now(); }

// The repository's folder and those in it, by their real paths, each once. What a link has outside
// the repository is not watched either.
std::set<std::string> FoldersOf(const std::string& repository, const RepositorySnapshot& snapshot) {
  std::set<std::string> folders;
  const auto given = RootFolder::Open(repository);
  if (!given.ok()) return folders;
  const auto root = RootFolder::Open(given->real_path());
  if (!root.ok()) return folders;
  const auto add = [&](const std::string& folder) {
    const auto entry = root->Look(folder);
    if (entry.ok()) folders.insert(entry->real_path);
  };
  // A model file that is a link to one elsewhere in the repository changes there.
  const auto add_folder_of = [&](const std::string& file) {
    if (!file.empty()) add(std::filesystem::path(file).parent_path().string());
  };
  add(root->path());
  for (const auto& model : snapshot.models) {
    add(model.second.folder);
    for (const auto& version : model.second.versions) {
      add(version.second.folder);
      add_folder_of(version.second.model_file);
      add_folder_of(version.second.package_file);
    }
  }
  return folders;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FolderWatch>> FolderWatch::Create(const std::string& repository,
                                                                 Options options) {
  FileDescriptor wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.ok()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot watch ", repository, ": ", strerror(errno)));
  }
  FileDescriptor inotify(options.inotify ? ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK) : -1);
  const int error = errno;
  const bool missing = options.inotify && !inotify.ok();
  auto watch =
      absl::WrapUnique(new FolderWatch(repository, options, std::move(wake), std::move(inotify)));
  if (missing) watch->Warn(strerror(error));
  return watch;
}

FolderWatch::FolderWatch(std::string repository, Options options, FileDescriptor wake,
                         FileDescriptor inotify)
    : repository_(std::move(repository)),
      options_(options),
      wake_(std::move(wake)),
      inotify_(std::move(inotify)),
      next_poll_(Now() + options.poll_every) {}

void FolderWatch::Watch(const RepositorySnapshot& snapshot) {
  if (!inotify_.ok()) return;
  std::set<int> watched;
  for (const std::string& folder : FoldersOf(repository_, snapshot)) {
    if (!Add(folder, watched)) break;
  }
  WatchParent();
  for (const int number : watched) changed_ |= watched_.count(number) == 0;
  for (const int number : watched_) {
    if (watched.count(number) == 0) ::inotify_rm_watch(inotify_.get(), number);
  }
  watched_ = std::move(watched);
}

void FolderWatch::WatchParent() {
  std::error_code ignored;
  std::filesystem::path path = std::filesystem::absolute(repository_, ignored).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // After a slash at the end.
  name_ = path.filename().string();
  if (name_.empty()) return;  // The root of all.
  parent_ = ::inotify_add_watch(inotify_.get(), path.parent_path().c_str(), kEventsOfParent);
}

bool FolderWatch::Add(const std::string& folder, std::set<int>& watched) {
  if (watched.size() >= static_cast<size_t>(options_.folders_max)) {
    Warn(absl::StrCat("more than ", options_.folders_max, " folders"));
    return false;
  }
  const int number =
      ::inotify_add_watch(inotify_.get(), folder.c_str(), kEvents | IN_ONLYDIR | IN_DONT_FOLLOW);
  if (number >= 0) {
    watched.insert(number);
    return true;
  }
  if (errno != ENOSPC && errno != ENOMEM) return true;  // Gone meanwhile, or not readable.
  Warn(strerror(errno));
  return false;
}

bool FolderWatch::WaitForChange(Duration timeout) {
  const Instant now = Now();
  const Instant until = timeout > kNever - now ? kNever : now + timeout;
  for (;;) {
    // Both are emptied, so that neither ends the next wait.
    const bool woken = TakeWake();
    const bool changed = ReadEvents();
    if (changed || std::exchange(changed_, false) || Now() >= next_poll_) {
      changed_ = false;
      next_poll_ = Now() + options_.poll_every;
      return true;
    }
    if (woken || Now() >= until) return false;
    WaitUntil(std::min(until, next_poll_));
  }
}

void FolderWatch::WaitUntil(Instant until) {
  const auto left = std::max(Duration(0), until - Now());
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  const timespec timeout = {static_cast<time_t>(seconds.count()),
                            static_cast<long>(std::chrono::nanoseconds(left - seconds).count())};
  pollfd files[] = {{wake_.get(), POLLIN, 0}, {inotify_.get(), POLLIN, 0}};
  ::ppoll(files, 2, &timeout, nullptr);  // An early return is looked into by the caller.
}

void FolderWatch::Wake() {
  const uint64_t one = 1;
  // Fails only when it is full, and then the wait ends anyway.
  static_cast<void>(::write(wake_.get(), &one, sizeof(one)) == sizeof(one));
}

bool FolderWatch::TakeWake() {
  uint64_t count = 0;
  return ::read(wake_.get(), &count, sizeof(count)) == sizeof(count);
}

bool FolderWatch::ReadEvents() {
  if (!inotify_.ok()) return false;
  bool changed = false;
  std::array<char, 64 * 1024> buffer;
  for (int reads = 0; reads < kReadsMax; ++reads) {
    const ssize_t count = ::read(inotify_.get(), buffer.data(), buffer.size());
    if (count <= 0) return changed;
    for (ssize_t at = 0; at < count;) {
      inotify_event event;
      std::memcpy(&event, buffer.data() + at, sizeof(event));
      const char* name = event.len > 0 ? buffer.data() + at + sizeof(event) : "";
      at += static_cast<ssize_t>(sizeof(event) + event.len);
      changed |= Means(event.wd, event.mask, name);
    }
  }
  return changed;
}

// Whether an event means that something may have changed.
bool FolderWatch::Means(int number, uint32_t mask, const char* name) {
  if ((mask & IN_Q_OVERFLOW) != 0) return true;
  if ((mask & IN_IGNORED) != 0) {  // No longer watched: the folder is gone, which came before.
    watched_.erase(number);
    if (number == parent_) parent_ = -1;
    return false;
  }
  return number != parent_ || name_ == name;
}

void FolderWatch::Warn(const std::string& reason) {
  if (std::exchange(warned_, true)) return;
  Log(Severity::kWarning, "changes in the repository are noticed late",
      {{"repository", repository_},
       {"poll_every_s", absl::StrCat(Seconds(options_.poll_every))},
       {"reason", reason}});
}

}  // namespace torchd
