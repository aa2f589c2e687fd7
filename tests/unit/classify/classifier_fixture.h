// A classifier with a real registry, executors and preparers around fake models.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "server/classify/classifier.h"
#include "tests/unit/fakes/fake_model.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {

inline ModelSignature TextSignature() {
  return {{{"input_ids", DataType::kInt64, {-1}}}, {{"scores", DataType::kFloat32, {2}}}};
}

// Scores: how many ids, and 0.
inline absl::Status CountIds(const RowInputs& row, std::vector<Tensor>& outputs) {
  const auto ids = static_cast<float>(row.at(0).shape.at(0));
  outputs.push_back(FloatTensor({1, 2}, {ids, 0}));
  return absl::OkStatus();
}

// Real registry, executors and preparers around two fakes: "echo" gives its three floats back as
// scores, "text" counts its ids.
class ClassifierTest : public ::testing::Test {
 protected:
  ClassifierTest() {
    repository_.Write("echo/1/model.pt", "");
    repository_.Write("echo/labels.txt", "ant\nbee\ncat\n");
    repository_.Write("echo/model.yaml", "softmax: false\nversion_labels: {stable: 1}\n");
    repository_.Write("text/1/model.pt", "");
    repository_.Write("text/model.yaml", "text: {}\n");
    repository_.Write("text/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\ncat\n");
    repository_.Write("broken/1/model.pt", "");
    const auto snapshot = ScanRepository(repository_.path());
    EXPECT_TRUE(snapshot.ok()) << snapshot.status();
    registry_.SetRepository(*snapshot);
    for (const char* name : {"echo", "text", "broken"}) {
      absl::Notification settled;
      registry_.WhenSettled(name, [&] { settled.Notify(); });
      settled.WaitForNotification();
    }
  }

  // As the service does: the classifier outlives what its calls hold.
  ~ClassifierTest() override {
    while (keeps_.use_count() > 1) std::this_thread::yield();
  }

  Registry::Parts RegistryParts() {
    Registry::Parts parts;
    parts.arrival.load = [this](const VersionFolder& folder, const ModelConfig& config,
                                TeamedPlan) { return Load(folder.ModelFile(), config); };
    parts.arrival.warm_up = [](Model& model, const ModelConfig&) {
      LaneOptions lane;
      lane.rows_waiting_max = 2;
      return std::make_unique<Lane>(model, std::move(lane));
    };
    parts.on_change = [](const std::string&, bool) {};
    parts.metrics = &metrics_;
    parts.clock = &clock_;
    return parts;
  }

  absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& path, const ModelConfig& config) {
    if (path.find("/broken/") != std::string::npos) return absl::InternalError("broken");
    if (config.text) return std::make_unique<FakeModel>(TextSignature(), CountIds);
    return std::make_unique<FakeModel>(EchoSignature(3),
                                       [this](const RowInputs& row, std::vector<Tensor>& outputs) {
                                         if (on_run_) on_run_();
                                         return FakeModel::Echo(row, outputs);
                                       });
  }

  ClassifyCall Call(absl::string_view model, std::vector<ClassifyItem> items) const {
    ClassifyCall call;
    call.model = model;
    call.items = std::move(items);
    call.arrival = clock_.Now();
    call.keeps = keeps_;
    return call;
  }

  ClassifyAnswer Classify(ClassifyCall call) {
    ClassifyAnswer got;
    absl::Notification done;
    classifier_.Start(std::move(call), [&](ClassifyAnswer answer) {
      got = std::move(answer);
      done.Notify();
    });
    done.WaitForNotification();
    return got;
  }

  // Runs `body` while the one executor and the one preprocessing thread are busy.
  void WhileBusy(const std::function<void()>& body) {
    absl::Notification executor_busy, pool_busy, pool_free, go;
    std::thread warming([&] {
      executors_.RunOnEach([&] {
        executor_busy.Notify();
        go.WaitForNotification();
      });
    });
    PrepTask busy;
    busy.client = 99;
    busy.prepare = [&] {
      pool_busy.Notify();
      go.WaitForNotification();
      pool_free.Notify();  // Until here it looks at `go`.
      return Duration(0);
    };
    const auto no_time = [](int) { return Duration(0); };
    ASSERT_TRUE(preparers_.Submit(std::move(busy), {0, no_time}).ok());
    executor_busy.WaitForNotification();
    pool_busy.WaitForNotification();
    body();
    go.Notify();
    pool_free.WaitForNotification();
    warming.join();
  }

  const std::shared_ptr<int> keeps_ = std::make_shared<int>();
  const std::vector<float> row_ = {1, 3, 2};
  const std::vector<float> short_row_ = {1, 2};
  const ClassifyItem good_ = TensorItem{{"x", FloatView(row_)}};
  const ClassifyItem bad_ = TensorItem{{"x", FloatView(short_row_)}};
  TempFolder repository_;
  ManualClock clock_;
  ServerMetrics metrics_{{"0", "0"}};
  std::function<void()> on_run_;
  Registry registry_{RegistryParts()};
  Executors executors_{{.device = "cpu", .threads = 1}, clock_};
  Preparers preparers_{{.threads = 1, .tasks_waiting_max = 2}, clock_};
  Classifier classifier_{{registry_, executors_, preparers_, metrics_, clock_}};
};

}  // namespace torchd
