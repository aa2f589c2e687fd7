// One Classify call between its admission and its answer: each item is prepared, run and finished
// on its own; the last one completes the call, or the alarm at `answer_by` does.
//
// Thread-safety: Start() or RefuseAll() once; items then finish on any thread.
// Ownership: kept alive by the items under way. Borrows what FlightParts names.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "server/base/alarms.h"
#include "server/base/clock.h"
#include "server/batching/executors.h"
#include "server/classify/classify.h"
#include "server/classify/in_flight_memory.h"
#include "server/classify/preparers.h"
#include "server/inference/top_k.h"
#include "server/metrics/server_metrics.h"
#include "server/registry/servable.h"

namespace torchd {

struct ClassifyAnswer {
  absl::Status status;            // Of the whole call.
  ModelHandle servable;           // What ran; set unless the look-up failed.
  std::vector<ItemAnswer> items;  // In the order of the call, when status is OK.
};

struct FlightParts {
  Executors& executors;
  Preparers& preparers;
  ServerMetrics& metrics;
  const Clock& clock;
  Alarms& alarms;
};

class Flight : public std::enable_shared_from_this<Flight> {
 public:
  using Done = absl::AnyInvocable<void(ClassifyAnswer)>;

  // `memory` is given back with the flight.
  Flight(const FlightParts& parts, ClassifyCall call, ModelHandle servable,
         const TopKOptions& top_k, InFlightMemory::Lease memory, Done done);

  void Start();
  void RefuseAll(const absl::Status& why);

 private:
  // kUnderWay -> kFinished by whoever carries the item, or -> kLate by the alarm: whoever is first.
  enum class Stage { kUnderWay, kFinished, kLate };
  struct Item {
    std::vector<Tensor> prepared;  // What the preprocessor made; RowInputs borrow from it.
    ItemAnswer answer;             // Of who carries it until it is kFinished, then of who answers.
    std::atomic<Stage> stage{Stage::kUnderWay};
  };

  void StartItem(size_t i);
  absl::Status CheckTakes(const ClassifyItem& item) const;
  absl::Status SubmitToPrepare(size_t i);
  Duration Prepare(size_t i);
  void SubmitRow(size_t i, RowInputs row);
  void Refuse(size_t i, const absl::Status& why);
  void OnRun(size_t i, const absl::Status& status, const std::vector<TensorView>& outputs,
             const RunTimes& times);
  absl::Status MakeClasses(const std::vector<TensorView>& outputs, ItemAnswer& answer) const;
  void FinishItem(size_t i, const absl::Status& status);
  void AnswerTooLate();
  void Complete();
  void Answer(std::vector<ItemAnswer> items);

  const FlightParts parts_;
  std::optional<Alarms::Key> alarm_;
  std::atomic<bool> answered_{false};
  const ClassifyCall call_;
  const ModelHandle servable_;
  const TopKOptions top_k_;
  std::vector<Item> items_;  // Never grows.
  std::atomic<size_t> left_;
  Done done_;
  const InFlightMemory::Lease
      memory_;  // Given back first: who waits for the call's `keeps` ends it.
};

// Why a request that ended with `status` did not run: what the status says, else by its code.
Refusal RefusalOf(const absl::Status& status);

}  // namespace torchd
