// One Classify call in our own types. The wire (gRPC, later HTTP) is translated into this and back;
// what a call means is decided here, once.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/base/clock.h"
#include "server/batching/request.h"
#include "server/config/model_config.h"
#include "server/inference/tensor.h"

namespace torchd {

inline constexpr int kItemsMax = 64;
inline constexpr int kTopKMax = 1000;
inline constexpr int kTopKDefault = 5;
inline constexpr int kTextBytesMax = 1024 * 1024;

struct NamedTensor {
  absl::string_view name;  // May be empty when the model has one input.
  TensorView view;
};

using TensorItem = std::vector<NamedTensor>;
struct ImageItem {
  absl::string_view bytes;
};
struct TextItem {
  absl::string_view text;
  std::optional<absl::string_view> pair = {};  // The second text of a pair.
};
// An item the wire could not express as one of ours, and why.
using ClassifyItem = std::variant<absl::Status, TensorItem, ImageItem, TextItem>;

// Borrows all bytes from the wire message.
struct ClassifyCall {
  absl::string_view model;
  int64_t version = 0;
  std::string version_label;
  std::vector<ClassifyItem> items;
  std::optional<int> top_k;
  std::optional<Activation> activation;
  std::optional<bool> softmax;  // False: kNone. Not together with `activation`.
  std::optional<float> threshold;
  Instant arrival;
  Instant deadline = kNever;
  Instant answer_by =
      kNever;  // Our own timeout: even a run that has begun is waited for no longer.
  Priority priority = Priority::kNormal;
  uint64_t client = 0;  // Who calls; the same number for the same caller.
  int64_t bytes = 0;    // Of the wire message.
  const std::atomic<bool>* cancelled = nullptr;
  std::shared_ptr<const void> keeps;  // What is borrowed, `cancelled` too.
};

struct ClassAnswer {
  int32_t index = 0;
  absl::string_view label;  // Borrowed from the handle in ClassifyAnswer.
  float probability = 0;
};

struct StageDurations {
  Duration preprocess{0};
  Duration queue{0};
  Duration execute{0};
  Duration postprocess{0};
  Duration total{0};
};

struct ItemAnswer {
  absl::Status status;
  std::vector<ClassAnswer> classes;
  bool non_finite = false;  // Scores that are NaN or infinite were left out.
  StageDurations times;
};

}  // namespace torchd
