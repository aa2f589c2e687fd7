// What serving adds to a model: the same tensor through (A) the model in this process, on an
// executor's thread; (B) a bare gRPC echo; (C) torchd. The three take turns call by call, so that
// what else the machine does falls on all of them, and so that each finds the caches as a real call
// does: full of another run, and the other core busy with threads that wait for the next parallel
// region. PAUSE_MS before each call lets those go to sleep: what a call costs after idleness.
//
// Usage: slice_bench MODEL_FILE ECHO_ADDRESS TORCHD_ADDRESS MODEL_NAME TURNS PAUSE_MS
// Prints medians: in_process_us, echo_us, torchd_us, and tax_us, the median over turns of
// torchd - in_process - echo. Then where it goes: slower_run_us (the run as the server measured it,
// less in_process) and around_run_us (the rest of the server's own time).

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/types/span.h"
#include "server/base/clock.h"
#include "server/base/thread_pool.h"
#include "server/batching/executors.h"
#include "server/config/model_config.h"
#include "server/execution/torch_model.h"
#include "server/execution/torch_runtime.h"
#include "torchd/v1/inference.grpc.pb.h"

namespace {

using torchd::v1::ClassifyRequest;
using torchd::v1::ClassifyResponse;
using torchd::v1::InferenceService;

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "slice_bench: %s\n", what.c_str());
  std::exit(1);
}

double MicrosecondsOf(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  const auto took = std::chrono::steady_clock::now() - start;
  return std::chrono::duration<double, std::micro>(took).count();
}

// One number per turn, by name.
using Samples = std::map<std::string, std::vector<double>>;

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

void Call(InferenceService::Stub& stub, const ClassifyRequest& request,
          ClassifyResponse& response) {
  grpc::ClientContext context;
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
  int turns = 0;
  int pause_ms = 0;
  if (argc != 7 || !absl::SimpleAtoi(argv[5], &turns) || !absl::SimpleAtoi(argv[6], &pause_ms) ||
      turns < 1 || pause_ms < 0) {
    Fail("usage: MODEL_FILE ECHO_ADDRESS TORCHD_ADDRESS MODEL_NAME TURNS PAUSE_MS");
  }
  torchd::PrepareTorchProcess();
  const std::unique_ptr<torchd::Model> model = Load(argv[1]);
  const torchd::Tensor picture = Picture();
  const torchd::RowInputs row = {picture.View()};
  const ClassifyRequest request = RequestFor(argv[4], picture);
  const auto echo = Connect(argv[2]);
  const auto served = Connect(argv[3]);

  const torchd::SteadyClock clock;
  torchd::Executors::Options options;
  const int cores = torchd::Cores();
  options.prepare_thread = [cores] { torchd::PrepareExecutorThread(cores); };
  torchd::Executors executor(std::move(options), clock);

  const auto run_model = [&] {
    const torchd::RowInputs* rows = &row;
    std::vector<torchd::Tensor> outputs;
    const absl::Status ran = model->Run(absl::MakeConstSpan(&rows, 1), outputs);
    if (!ran.ok()) Fail(std::string(ran.message()));
  };
  const auto pause = [&] { std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms)); };
  Samples samples;
  for (int turn = -5; turn < turns; ++turn) {
    ClassifyResponse answer;
    double model_us = 0;
    pause();
    executor.RunOnEach([&] { model_us = MicrosecondsOf(run_model); });
    pause();
    const double echo_us = MicrosecondsOf([&] { Call(*echo, request, answer); });
    pause();
    const double served_us = MicrosecondsOf([&] { Call(*served, request, answer); });
    if (turn < 0) continue;  // Warm-up.
    const auto& times = answer.results(0).times();
    samples["in_process_us"].push_back(model_us);
    samples["echo_us"].push_back(echo_us);
    samples["torchd_us"].push_back(served_us);
    samples["tax_us"].push_back(served_us - model_us - echo_us);
    samples["slower_run_us"].push_back(static_cast<double>(times.execute_us()) - model_us);
    samples["around_run_us"].push_back(static_cast<double>(times.total_us() - times.execute_us()));
  }
  for (const auto& [name, values] : samples) {
    std::printf("%s %.1f\n", name.c_str(), Median(values));
  }
  return 0;
}
