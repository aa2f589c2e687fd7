// Asks one torchd server, or several in turns.
//
//   #include <torchd/client.h>
//
//   torchd::ClientOptions options;
//   options.addresses = {"127.0.0.1:8001"};
//   absl::StatusOr<std::unique_ptr<torchd::Client>> client = torchd::Client::Connect(options);
//   if (!client.ok()) return client.status();
//   absl::StatusOr<torchd::Classification> answer =
//       (*client)->Classify({torchd::Image{jpeg}}, {.model = "efficientnet-lite0"});
//
// client/README.md shows all of it; client/example is a program that builds against it.
//
// Errors: the server's own code and message, or UNAVAILABLE with IsUnreachable() when there was no
// connection to ask over. A refusal that may pass (UNAVAILABLE, RESOURCE_EXHAUSTED) is tried again
// by gRPC before it is an answer, with the pause that the server asks for.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace torchd {

struct ClientOptions {
  // HOST:PORT; or several, all IPv4 or all IPv6; or dns:///NAME:PORT for all that the name stands
  // for. Several take turns, and one that says NOT_SERVING gets no calls while another serves.
  std::vector<std::string> addresses = {"127.0.0.1:8001"};
  std::chrono::milliseconds connecting_max = std::chrono::seconds(5);
  int attempts_max = 4;                       // 1..5 of a call, the first one included.
  std::chrono::milliseconds pause_first{50};  // Before the second, unless the server says;
  std::chrono::milliseconds pause_max{1000};  // doubled each time, up to this.
  std::string client_name = {};  // Those of one name share their turn where requests wait.
};

enum class DataType { kUint8 = 1, kInt32 = 2, kInt64 = 3, kFloat32 = 4 };

struct Tensor {
  std::string name = {};  // May be empty where the model has one input.
  DataType type = DataType::kFloat32;
  std::vector<int64_t> shape = {};  // Of one item.
  std::string data = {};            // Row-major, little-endian.
};

// A float32 tensor of these values.
Tensor FloatTensor(std::vector<int64_t> shape, const std::vector<float>& values,
                   std::string name = "");

struct Image {
  std::string bytes;  // Of a JPEG, PNG or WebP.
};
struct Text {
  std::string utf8;
};
// Two texts as one input, as a question and a passage. An empty second one is none.
struct TextPair {
  std::string first;
  std::string second;
};
using Tensors = std::vector<Tensor>;  // One for each input of the model.
using Item = std::variant<Image, Text, Tensors, TextPair>;

// NOT_FOUND or PERMISSION_DENIED with the path where the file cannot be read.
absl::StatusOr<Image> ReadImage(const std::string& path);

enum class Priority { kHigh = 1, kNormal = 2, kLow = 3 };

// What the model's scores become: what they are, probabilities over all classes, or one of each
// class for itself, where several may hold.
enum class Activation { kNone = 1, kSoftmax = 2, kSigmoid = 3 };

struct ClassifyOptions {
  std::string model = {};  // May be empty where the server has one.
  int64_t version = 0;     // 0: the highest that is ready.
  std::string version_label = {};
  std::optional<int> top_k = {};           // 1..1000; unset: 5, with a threshold all.
  std::optional<bool> softmax = {};        // False: Activation::kNone. Not together with it.
  std::optional<Activation> activation{};  // Unset, as below: as the model is configured.
  std::optional<float> threshold = {};     // Classes whose score is below it are left out.
  Priority priority = Priority::kNormal;
  // The deadline that the server sees: what cannot be answered by then is refused early. It covers
  // all attempts.
  std::chrono::milliseconds timeout = std::chrono::seconds(60);
};

struct Class {
  int index = 0;  // Position in the model's output.
  std::string label;
  float probability = 0;  // The model's own score without softmax.
};

// Wall-clock time inside the server.
struct StageTimes {
  std::chrono::microseconds preprocess{0};
  std::chrono::microseconds queue{0};
  std::chrono::microseconds execute{0};
  std::chrono::microseconds postprocess{0};
  std::chrono::microseconds total{0};
};

struct ItemAnswer {
  absl::Status status;         // Of several items each may fail by itself.
  std::vector<Class> classes;  // Most probable first. None without OK, or above the threshold.
  StageTimes times;
  bool non_finite = false;  // Scores that were NaN or infinite are left out.
};

struct Classification {
  std::string model;
  int64_t version = 0;
  std::vector<ItemAnswer> items;  // One for each that was sent, in their order.
};

struct TensorInfo {
  std::string name;
  std::string data_type;       // "uint8", "int32", "int64" or "float32".
  std::vector<int64_t> shape;  // Of one item; -1 is any size.
};

// What becomes of an image before it is the model's input.
struct ImageInput {
  std::vector<std::string> formats;
  std::string preset;
  int resize = 0;
  int crop = 0;
  std::string filter;
  bool antialias = false;
  std::vector<float> mean;
  std::vector<float> std;
  std::string layout;          // Of the model's input: "chw" or "hwc".
  std::string data_type;       // "float32"; or "uint8", where mean, std and scale do not count.
  std::optional<float> scale;  // What levels of 0..255 are multiplied by first.
};

struct TextInput {
  int tokens_max = 0;
  std::vector<int> lengths;  // Padded to the next of these.
  bool lowercase = false;
  int bytes_max = 0;
};

struct ModelInfo {
  std::string name;
  int64_t version = 0;
  std::string state;  // "READY", "LOADING", "UNLOADING", "UNAVAILABLE" or "UNKNOWN".
  std::string reason;
  std::vector<std::string> takes;  // Of "image", "text", "tensor".
  std::vector<TensorInfo> inputs;
  std::vector<TensorInfo> outputs;
  int labels = 0;
  std::optional<ImageInput> image;
  std::optional<TextInput> text;
  std::string activation;          // Unless a request says otherwise: "softmax", "sigmoid", "none".
  std::optional<float> threshold;  // Likewise; unset: none.
};

enum class Health { kServing, kNotServing, kUnknownService, kUnreachable };

// Follows the standard health service on a thread of its own, also while the server restarts. The
// destructor ends it and waits for a callback that runs.
class HealthWatch {
 public:
  HealthWatch(const HealthWatch&) = delete;
  HealthWatch& operator=(const HealthWatch&) = delete;
  virtual ~HealthWatch() = default;

 protected:
  HealthWatch() = default;
};

// Thread-safety: any number of threads at once. Requires: none calls while it is destroyed.
class Client {
 public:
  // UNAVAILABLE as soon as every address refuses, or after `connecting_max`; INVALID_ARGUMENT for
  // options that make no sense.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const ClientOptions& options);

  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  virtual ~Client() = default;

  // 1..64 items. A call with one item fails as a whole with that item's status.
  virtual absl::StatusOr<Classification> Classify(const std::vector<Item>& items,
                                                  const ClassifyOptions& options) = 0;

  // Every version that the server knows, or those of one model, ready or not.
  virtual absl::StatusOr<std::vector<ModelInfo>> ListModels(const std::string& model,
                                                            std::chrono::milliseconds timeout) = 0;

  // `changed` is told each new state, the first one at once, on the watch's thread; it must not
  // destroy the watch. `service`: a model, or empty for the server. The watch may outlive the
  // client.
  virtual std::unique_ptr<HealthWatch> WatchHealth(const std::string& service,
                                                   std::function<void(Health)> changed) = 0;

 protected:
  Client() = default;
};

// Whether `status`, which came from a Client, means that no server was there to answer. A server
// that says UNAVAILABLE itself (loading, draining) was reached.
bool IsUnreachable(const absl::Status& status);

}  // namespace torchd
