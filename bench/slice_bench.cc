// What serving adds to a model: the same tensor through (A) the model in this process, on an
// executor's thread; (B) a bare gRPC echo; (C) torchd. Rounds are interleaved, so that what else
// the machine does falls on all three; the result is the median over rounds of each round's
// medians.
//
// Usage: slice_bench MODEL_FILE ECHO_ADDRESS TORCHD_ADDRESS MODEL_NAME ROUNDS CALLS_PER_ROUND
// Prints: in_process_us, echo_us, torchd_us and tax_us = torchd - in_process - echo.

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/types/span.h"
#include "server/base/clock.h"
#include "server/batching/executors.h"
#include "server/config/model_config.h"
#include "server/execution/torch_model.h"
#include "server/execution/torch_runtime.h"
#include "torchd/v1/inference.grpc.pb.h"

namespace {

using torchd::v1::ClassifyRequest;
using torchd::v1::ClassifyResponse;
using torchd::v1::InferenceService;

constexpr auto kPause = std::chrono::milliseconds(30);  // Idle OpenMP threads stop spinning.

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "slice_bench: %s\n", what.c_str());
  std::exit(1);
}

// Median of `calls` runs of `body`, in microseconds, after two that are not counted.
double MedianUs(int calls, const std::function<void()>& body) {
  std::this_thread::sleep_for(kPause);
  std::vector<double> times;
  for (int i = -2; i < calls; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const auto took = std::chrono::steady_clock::now() - start;
    if (i >= 0) times.push_back(std::chrono::duration<double, std::micro>(took).count());
  }
  return Median(times);
}

std::unique_ptr<InferenceService::Stub> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return InferenceService::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

ClassifyRequest RequestFor(const std::string& model, const torchd::Tensor& tensor) {
  ClassifyRequest request;
  request.set_model(model);
  torchd::v1::Tensor& wire = *request.add_items()->mutable_tensors()->add_tensors();
  wire.set_data_type(torchd::v1::DATA_TYPE_FLOAT32);
  wire.mutable_shape()->Add(tensor.shape.begin(), tensor.shape.end());
  wire.set_data(tensor.bytes.data(), tensor.bytes.size());
  return request;
}

void Call(InferenceService::Stub& stub, const ClassifyRequest& request) {
  grpc::ClientContext context;
  ClassifyResponse response;
  const grpc::Status status = stub.Classify(&context, request, &response);
  if (!status.ok()) Fail(status.error_message());
}

// Loads the model the way the daemon does: on a thread that never opens an OpenMP team.
std::unique_ptr<torchd::Model> Load(const std::string& path) {
  std::unique_ptr<torchd::Model> model;
  std::thread loader([&] {
    torchd::PrepareLoaderThread();
    auto loaded = torchd::TorchModel::Load(path, torchd::ModelConfig());
    if (!loaded.ok()) Fail(std::string(loaded.status().message()));
    model = *std::move(loaded);
  });
  loader.join();
  return model;
}

torchd::Tensor Picture() {
  torchd::Tensor tensor;
  tensor.shape = {3, 224, 224};
  std::vector<float> values(3 * 224 * 224);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 255) / 255 - 0.5F;
  const char* bytes = reinterpret_cast<const char*>(values.data());
  tensor.bytes.assign(bytes, bytes + values.size() * sizeof(float));
  return tensor;
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 0;
  int calls = 0;
  if (argc != 7 || !absl::SimpleAtoi(argv[5], &rounds) || !absl::SimpleAtoi(argv[6], &calls) ||
      rounds < 1 || calls < 1) {
    Fail("usage: MODEL_FILE ECHO_ADDRESS TORCHD_ADDRESS MODEL_NAME ROUNDS CALLS_PER_ROUND");
  }
  const std::unique_ptr<torchd::Model> model = Load(argv[1]);
  const torchd::Tensor picture = Picture();
  const torchd::RowInputs row = {picture.View()};
  const ClassifyRequest request = RequestFor(argv[4], picture);
  const auto echo = Connect(argv[2]);
  const auto served = Connect(argv[3]);

  const torchd::SteadyClock clock;
  torchd::Executors::Options options;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  options.prepare_thread = [cores] { torchd::PrepareExecutorThread(cores); };
  torchd::Executors executor(std::move(options), clock);

  const auto run_model = [&] {
    const torchd::RowInputs* rows = &row;
    std::vector<torchd::Tensor> outputs;
    const absl::Status ran = model->Run(absl::MakeConstSpan(&rows, 1), outputs);
    if (!ran.ok()) Fail(std::string(ran.message()));
  };
  std::vector<double> in_process;
  std::vector<double> bare;
  std::vector<double> remote;
  std::vector<double> tax;
  for (int round = -1; round < rounds; ++round) {
    double model_us = 0;
    executor.RunOnEach([&] { model_us = MedianUs(calls, run_model); });
    const double echo_us = MedianUs(calls * 4, [&] { Call(*echo, request); });
    const double served_us = MedianUs(calls, [&] { Call(*served, request); });
    if (round < 0) continue;  // Warm-up.
    in_process.push_back(model_us);
    bare.push_back(echo_us);
    remote.push_back(served_us);
    tax.push_back(served_us - model_us - echo_us);
  }
  std::printf("in_process_us %.1f\necho_us %.1f\ntorchd_us %.1f\ntax_us %.1f\n", Median(in_process),
              Median(bare), Median(remote), Median(tax));
  return 0;
}
