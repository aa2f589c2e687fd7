// A registry over a repository on disk whose model files say what becomes of them.
#pragma once

#include <pthread.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "server/registry/registry.h"
#include "tests/unit/fakes/fake_model.h"
#include "tests/unit/registry/repository_scans.h"

namespace torchd {

inline std::string ThreadName() {
  std::array<char, 16> name{};
  pthread_getname_np(pthread_self(), name.data(), name.size());
  return name.data();
}

// A file that begins with "broken" does not load, with "full" not now, with "cold" does not warm
// up; anything else becomes a FakeModel of three classes.
class RegistryFixture : public ::testing::Test {
 protected:
  void Add(const std::string& version_folder, const std::string& contents = "good") const {
    repository_.Write(version_folder + "/model.pt", contents);
  }

  void Remove(const std::string& folder) const {
    std::filesystem::remove_all(repository_.Path(folder));
  }

  // Made when first asked for: tests set the members below before.
  Registry& registry() {
    if (registry_ == nullptr) registry_ = std::make_unique<Registry>(Parts());
    return *registry_;
  }

  void Settle(const std::string& name) {
    absl::Notification settled;
    registry().WhenSettled(name, [&] { settled.Notify(); });
    settled.WaitForNotification();
  }

  // The registry learns what the repository holds.
  void Show() { registry().SetRepository(Scan(repository_)); }

  void ShowAndSettle() {
    Show();
    SettleAll();
  }

  void SettleAll() {
    std::set<std::string> names;  // A snapshot would keep alive what it waits for.
    for (const VersionStatus& status : registry().Snapshot()) names.insert(status.name);
    for (const std::string& name : names) Settle(name);
  }

  absl::Status LookupError(absl::string_view name, const VersionChoice& choice = {}) {
    const auto found = registry().Lookup(name, choice);
    EXPECT_FALSE(found.ok());
    return found.status();
  }

  int64_t VersionServed(const std::string& name, const VersionChoice& choice = {}) {
    const auto found = registry().Lookup(name, choice);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? (*found)->version : 0;
  }

  VersionStatus StatusOf(const std::string& name, int64_t version) {
    for (const VersionStatus& status : registry().Snapshot()) {
      if (status.name == name && status.version == version) return status;
    }
    return {};
  }
  std::string Reason(const std::string& name, int64_t version) {
    return StatusOf(name, version).reason;
  }
  VersionState State(const std::string& name, int64_t version) {
    return StatusOf(name, version).state;
  }

  std::vector<std::pair<std::string, bool>> Told() {
    absl::MutexLock lock(&mutex_);
    return told_;
  }
  // A model may have settled a moment before its change is told.
  void AwaitTold(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [this, count] { return told_.size() >= count; };
    mutex_.Await(absl::Condition(&enough));
  }
  std::vector<std::string> Loads() {  // What the files held.
    absl::MutexLock lock(&mutex_);
    return loads_;
  }
  std::vector<std::string> Ended() {  // "good on unload-0": what was destroyed on which thread.
    absl::MutexLock lock(&mutex_);
    return ended_;
  }

  Registry::Parts Parts() {
    Registry::Parts parts;
    parts.arrival.prepare_thread = [this] { ++prepared_; };
    parts.arrival.trial = trial_;
    parts.arrival.plan = plan_;
    parts.arrival.search = search_;
    parts.arrival.load = [this](const VersionFolder& folder, const ModelConfig&,
                                TeamedPlan plan) -> absl::StatusOr<std::unique_ptr<Model>> {
      if (plan.plan == refused_) return absl::InternalError("it does not run so");
      return Load(folder.ModelFile());
    };
    parts.arrival.warm_up = [](Model& model,
                               const ModelConfig&) -> absl::StatusOr<std::unique_ptr<Lane>> {
      const absl::Status ran = RunOnce(model).status();
      if (!ran.ok()) return ran;
      return std::make_unique<Lane>(model, LaneOptions());
    };
    parts.arrival.run = RunOnce;
    parts.on_change = [this](const std::string& name, bool ready) {
      absl::MutexLock lock(&mutex_);
      told_.emplace_back(name, ready);
    };
    parts.metrics = &metrics_;
    parts.clock = &clock_;
    parts.load_threads = load_threads_;
    parts.memory_bytes_max = memory_bytes_max_;
    parts.on_demand = on_demand_;
    return parts;
  }

  static absl::StatusOr<std::vector<Tensor>> RunOnce(Model& model) {
    const std::vector<float> ones = {1, 1, 1};
    const RowInputs row = {FloatView(ones)};
    const RowInputs* rows = &row;
    std::vector<Tensor> outputs;
    absl::Status ran = model.Run(absl::MakeConstSpan(&rows, 1), outputs);
    if (!ran.ok()) return ran;
    return outputs;
  }

  absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& path) {
    const std::string contents = ReadFile(path);
    {
      absl::MutexLock lock(&mutex_);
      loads_.push_back(contents);
    }
    if (on_load_) on_load_(contents);
    if (absl::StartsWith(contents, "broken")) return absl::InternalError("LibTorch rejects it");
    if (absl::StartsWith(contents, "full")) return absl::ResourceExhaustedError("no memory left");
    // Goes when the model does.
    const std::shared_ptr<void> life(nullptr, [this, contents](void*) {
      absl::MutexLock lock(&mutex_);
      ended_.push_back(contents + " on " + ThreadName());
    });
    const bool cold = absl::StartsWith(contents, "cold");
    return std::make_unique<FakeModel>(
        EchoSignature(3), [life, cold](const RowInputs& row, std::vector<Tensor>& outputs) {
          return cold ? absl::InternalError("cannot warm up") : FakeModel::Echo(row, outputs);
        });
  }

  TempFolder repository_;
  ManualClock clock_;
  ServerMetrics metrics_{{"0", "0"}};
  std::function<void(const std::string& contents)> on_load_;  // On the loading thread.
  std::function<absl::StatusOr<Trial>(const VersionFolder&)> trial_;
  decltype(ArrivalParts::plan) plan_;
  std::optional<Plan> refused_;  // Does not load.
  decltype(ArrivalParts::search) search_;
  int load_threads_ = 2;
  int64_t memory_bytes_max_ = 0;
  bool on_demand_ = false;
  std::atomic<int> prepared_{0};
  absl::Mutex mutex_;
  std::vector<std::pair<std::string, bool>> told_;
  std::vector<std::string> loads_;
  std::vector<std::string> ended_;
  std::unique_ptr<Registry> registry_;
};

inline std::string Message(const absl::Status& status) { return std::string(status.message()); }

}  // namespace torchd
