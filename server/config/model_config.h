// What a model's owner says about it in `model.yaml`. Plain data; docs/model-config.md is the
// manual.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/config/plan.h"
#include "server/config/version_policy.h"

namespace torchd {

inline constexpr size_t kInputsMax = 64;
inline constexpr size_t kDimensionsMax = 8;
// Bounds the product of a shape's sizes, so that nobody downstream overflows when multiplying.
inline constexpr int64_t kElementsMax = int64_t{1} << 31;
inline constexpr int kRowsPerBatchMax = 1024;
inline constexpr size_t kVersionLabelsMax = 64;
inline constexpr int kRowsWaitingMax = 1'000'000;
inline constexpr int kDelayUsMax = 10'000'000;
inline constexpr int kTimeoutMsMax = 3'600'000;
inline constexpr int kPlanThreadsMax = 256;

inline constexpr char kLabelsFile[] = "labels.txt";
inline constexpr char kTorchServeLabelsFile[] = "index_to_name.json";  // Where there is no other.
inline constexpr char kVocabularyFile[] = "vocab.txt";
inline constexpr char kTokenizerFile[] = "tokenizer.json";  // Where there is no other.
inline constexpr char kImagenetLabels[] = "imagenet";

// One input or output, without the batch dimension.
struct TensorConfig {
  std::string name;
  std::string data_type;       // "uint8", "int32", "int64" or "float32".
  std::vector<int64_t> shape;  // -1: any size.
};

enum class ResizeFilter { kNearest, kBilinear, kBicubic };

enum class ImageLayout { kChw, kHwc };

// From a photo to a tensor [3, crop, crop] or [crop, crop, 3], the way torchvision's transforms do
// it. `preset: imagenet` is torchvision's usual one; `imagenet-0.5` differs by mean and std 0.5.
struct ImageConfig {
  int resize = 256;  // Length of the shorter side.
  int crop = 224;    // Side of the centre square; zero padding where the image is smaller.
  ResizeFilter filter = ResizeFilter::kBilinear;
  bool antialias = true;
  std::optional<float> scale = {};  // Levels of 0..255 times this; unset: divided by 255.
  std::array<float, 3> mean = {0.485F, 0.456F, 0.406F};  // Of scaled RGB values.
  std::array<float, 3> std = {0.229F, 0.224F, 0.225F};
  ImageLayout layout = ImageLayout::kChw;
  bool as_levels = false;  // uint8 as it is, for a model that does the rest itself; else float32.
};

// From a sentence to ids, the way Hugging Face's BertTokenizer does it.
struct TextConfig {
  // File beside model.yaml: one word piece a line, or a tokenizer.json.
  std::string vocabulary = kVocabularyFile;
  // Also strips accents, as the uncased models want. Unset: as tokenizer.json says, else true.
  std::optional<bool> lowercase = {};
  int tokens_max = 512;  // Longer texts are truncated.
  // Texts are padded to the next of these, ascending, so that those of about one length share a
  // run; longer ones, and all where the model takes no attention_mask, stay as they are.
  std::vector<int> lengths = {16, 32, 64, 128, 256, 512};
};

// How rows wait for an executor.
struct QueueConfig {
  int rows_waiting_max = 0;     // 1..kRowsWaitingMax; 0: not said, so the server decides.
  int delay_us_max = 0;         // 0..kDelayUsMax: an idle executor waits so long for company.
  int regroup_us_max = 10'000;  // 0..kDelayUsMax: after a run, for those it answered to come back.
  int executors_max = 0;        // 1..64 that run it at once; 0: all.
  int ageing_ms = 1000;         // 0..600'000: then a row goes before newer ones a priority above.
};

// What the model's scores become. Sigmoid: each class for itself, where several may hold at once.
enum class Activation { kNone, kSoftmax, kSigmoid };

// What becomes of an answer with scores that are NaN or infinite.
enum class NonFinite { kError, kFlag };

struct ModelConfig {
  std::vector<TensorConfig> inputs;  // Empty: from `image:` or `text:`, else asked of the model.
  // File beside model.yaml; absent file: no labels. kImagenetLabels: the list of that name.
  std::string labels = kLabelsFile;
  Activation activation = Activation::kSoftmax;
  std::optional<float> threshold = {};  // Classes below it are left out of an answer.
  std::optional<ImageConfig> image;
  std::optional<TextConfig> text;
  // Rows that the model takes in one run, 1..kRowsPerBatchMax; 0: not said, so the server decides.
  int rows_per_batch_max = 0;
  QueueConfig queue;
  int timeout_ms = 0;  // 0..kTimeoutMsMax, of a request without an earlier deadline; 0: none.
  NonFinite non_finite = NonFinite::kError;
  std::optional<Plan> plan;  // Unset: the fastest.
  // Where it is searched: whether the default plan serves meanwhile. Unset: the server decides.
  std::optional<bool> fast_start;
  std::set<Plan> plans_forbidden;  // Never kDefaultPlan.
  int plan_threads = 0;  // 1..kPlanThreadsMax, not more than an executor has; 0: not said.
  // How far a plan's answers may be from the saved model's; then those are tried, too, that compute
  // with fewer bits. 0: not said.
  double plan_difference_max = 0;
  // What clients call the outputs, in the model's order; "" for one without a name. Empty: not
  // said. Only config.pbtxt says it.
  std::vector<std::string> output_names;
  std::map<std::string, std::vector<int64_t>> output_shapes;  // By name, as far as they are said.
  std::optional<VersionPolicy> version_policy;    // Unset: not said, so the server decides.
  std::map<std::string, int64_t> version_labels;  // "stable" -> 3.
};

// INVALID_ARGUMENT naming the key, the value and the range for whatever is not understood.
// `yaml`: contents of model.yaml; an empty text gives the defaults.
absl::StatusOr<ModelConfig> ParseModelConfig(const std::string& yaml);

}  // namespace torchd
