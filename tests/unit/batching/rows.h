// Lanes and rows for tests of what batches them.
#pragma once

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "server/batching/lane.h"
#include "server/batching/request.h"
#include "tests/unit/fakes/fake_model.h"

namespace torchd {

// Takes rows of any size; each size is a shape class of its own.
inline ModelSignature AnySizeSignature() { return EchoSignature(-1); }

// A lane with a model of its own.
struct OwnLane {
  explicit OwnLane(LaneOptions options = {}, ModelSignature signature = AnySizeSignature())
      : model(std::move(signature)), lane(model, std::move(options)) {}

  FakeModel model;
  Lane lane;
};

using RunTimesByBucket = std::map<int, Duration>;

// As if each bucket had run `times` times, turn by turn, always as long.
inline void Measure(CostTable& costs, const ShapeClass& shape, const RunTimesByBucket& took,
                    int times = 20) {
  for (int i = 0; i < times; ++i) {
    for (const auto& [bucket, duration] : took) costs.Add(shape, bucket, duration);
  }
}

// A row of `size` numbers. The scheduler looks at shapes only, so `record` may be anything that
// lets a test know the row again.
inline RowInputs InputsOf(int64_t size, const void* record = nullptr) {
  return {
      TensorView{DataType::kFloat32, {size}, record, static_cast<size_t>(size) * sizeof(float)}};
}

// What a test asks of a row; the rest is as Request has it.
struct RowKind {
  int64_t size = 3;
  Duration deadline_in = Duration::max();  // From its arrival on.
  Priority priority = Priority::kNormal;
  uint64_t client = 0;
  const std::atomic<bool>* cancelled = nullptr;
};

inline std::unique_ptr<Request> RowOf(Lane& lane, const RowKind& kind, Instant now) {
  auto request = std::make_unique<Request>();
  request->lane = &lane;
  request->inputs = InputsOf(kind.size);
  request->deadline = kind.deadline_in == Duration::max() ? kNever : now + kind.deadline_in;
  request->priority = kind.priority;
  request->client = kind.client;
  request->cancelled = kind.cancelled;
  request->admitted = now;
  return request;
}

}  // namespace torchd
