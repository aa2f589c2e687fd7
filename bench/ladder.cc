// One model by every rung of the ladder, each in blocks of runs that whoever asks for them
// interleaves, with another runtime's too if it likes:
//   classic   TorchScript as it was saved, in the loop that everybody writes
//   NAME      one of torchd's plans, in this process; NAME:N on N threads
//   served    the daemon, over TCP
//   echo      a bare gRPC echo of the same payload, over TCP
// All runs of this process are done by one thread, prepared as an executor's is.
//
// Usage: ladder MODEL_FILE ECHO_ADDRESS TORCHD_ADDRESS MODEL_NAME INPUT...
//   INPUT: x:float32:3,224,224 or ids:int64:128; of the row, in order.
// Then lines on standard input: RUNG COUNT. Each is answered by the times of so many runs, in
// microseconds, on one line; a rung that cannot run by "failed" and why.

#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "bench/classic_loop.h"
#include "server/base/thread_pool.h"
#include "server/config/model_config.h"
#include "server/config/plan.h"
#include "server/execution/torch_model.h"
#include "server/execution/torch_runtime.h"
#include "torchd/v1/inference.grpc.pb.h"

namespace {

using torchd::DataType;
using torchd::v1::ClassifyRequest;
using torchd::v1::ClassifyResponse;
using torchd::v1::InferenceService;

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "ladder: %s\n", what.c_str());
  std::exit(1);
}

template <typename T>
void Append(T value, std::vector<char>& bytes) {
  const char* const begin = reinterpret_cast<const char*>(&value);
  bytes.insert(bytes.end(), begin, begin + sizeof value);
}

struct Input {
  std::string name;
  torchd::Tensor tensor;
};

// Pictures between -0.5 and 0.5; tokens that every vocabulary has.
Input InputOf(const std::string& argument) {
  const std::vector<std::string> parts = absl::StrSplit(argument, ':');
  if (parts.size() != 3 || (parts[1] != "float32" && parts[1] != "int64")) Fail(argument);
  torchd::Tensor tensor;
  tensor.type = parts[1] == "float32" ? DataType::kFloat32 : DataType::kInt64;
  for (const auto size : absl::StrSplit(parts[2], ',')) {
    if (!absl::SimpleAtoi(size, &tensor.shape.emplace_back())) Fail(argument);
  }
  const int64_t count =
      std::accumulate(tensor.shape.begin(), tensor.shape.end(), int64_t{1}, std::multiplies<>());
  for (int64_t i = 0; i < count; ++i) {
    const auto value = static_cast<float>(i % 255) / 255 - 0.5F;
    const int64_t token = 1 + i % 500;
    if (tensor.type == DataType::kFloat32) {
      Append(value, tensor.bytes);
    } else {
      Append(token, tensor.bytes);
    }
  }
  return {parts[0], std::move(tensor)};
}

std::unique_ptr<InferenceService::Stub> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return InferenceService::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

class Ladder {
 public:
  using Run = std::function<void()>;

  Ladder(std::string file, std::string name, const std::vector<Input>& inputs)
      : file_(std::move(file)) {
    for (const Input& input : inputs) inputs_.push_back(input.tensor);
    request_.set_model(std::move(name));
    auto& tensors = *request_.add_items()->mutable_tensors();
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const torchd::Tensor& input = inputs_[i];
      const bool floats = input.type == DataType::kFloat32;
      config_.inputs.push_back({inputs[i].name, floats ? "float32" : "int64", input.shape});
      row_.push_back(input.View());
      torchd::v1::Tensor& wire = *tensors.add_tensors();
      wire.set_name(inputs[i].name);
      wire.set_data_type(floats ? torchd::v1::DATA_TYPE_FLOAT32 : torchd::v1::DATA_TYPE_INT64);
      wire.mutable_shape()->Add(input.shape.begin(), input.shape.end());
      wire.set_data(input.bytes.data(), input.bytes.size());
    }
  }

  // Prints what `count` runs took. What a rung needs is loaded by its first.
  void Block(const std::string& rung, int count) {
    try {
      const Run& run = RunOf(rung);
      std::string line;
      for (int i = 0; i < count; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        run();
        const std::chrono::duration<double, std::micro> took =
            std::chrono::steady_clock::now() - begin;
        line += std::to_string(took.count()) + " ";
      }
      std::printf("%s\n", line.c_str());
    } catch (const std::exception& error) {
      std::printf("failed %s\n", std::string(error.what()).substr(0, 200).c_str());
    }
    std::fflush(stdout);
  }

  void AddRemote(const std::string& rung, const std::string& address) {
    stubs_.push_back(Connect(address));
    InferenceService::Stub& stub = *stubs_.back();
    runs_[rung] = [this, &stub] {
      grpc::ClientContext context;
      ClassifyResponse response;
      const grpc::Status status = stub.Classify(&context, request_, &response);
      if (!status.ok()) throw std::runtime_error(status.error_message());
    };
  }

 private:
  const Run& RunOf(const std::string& rung) {
    const auto known = runs_.find(rung);
    if (known != runs_.end()) return known->second;
    return runs_[rung] = rung == "classic" ? torchd::ClassicLoop(file_, inputs_) : Planned(rung);
  }

  Run Planned(const std::string& name) {
    const std::vector<std::string> parts = absl::StrSplit(name, ':');
    const auto plan = torchd::PlanByName(parts[0]);
    int threads = 0;
    if (!plan || (parts.size() > 1 && !absl::SimpleAtoi(parts[1], &threads))) {
      throw std::runtime_error("no plan of that name");
    }
    auto loaded = torchd::TorchModel::Load(file_, config_, {*plan, threads});
    if (!loaded.ok()) throw std::runtime_error(std::string(loaded.status().message()));
    const std::shared_ptr<torchd::Model> model = *std::move(loaded);
    return [this, model] {
      const torchd::RowInputs* rows = &row_;
      std::vector<torchd::Tensor> outputs;
      const absl::Status ran = model->Run(absl::MakeConstSpan(&rows, 1), outputs);
      if (!ran.ok()) throw std::runtime_error(std::string(ran.message()));
    };
  }

  const std::string file_;
  std::vector<torchd::Tensor> inputs_;
  torchd::ModelConfig config_;
  torchd::RowInputs row_;
  ClassifyRequest request_;
  std::vector<std::unique_ptr<InferenceService::Stub>> stubs_;
  std::map<std::string, Run> runs_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) Fail("usage: MODEL_FILE ECHO_ADDRESS TORCHD_ADDRESS MODEL_NAME INPUT...");
  torchd::PrepareTorchProcess();
  torchd::PrepareExecutorThread(torchd::Cores());
  std::vector<Input> inputs;
  for (int i = 5; i < argc; ++i) inputs.push_back(InputOf(argv[i]));
  Ladder ladder(argv[1], argv[4], inputs);
  ladder.AddRemote("echo", argv[2]);
  ladder.AddRemote("served", argv[3]);
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string rung;
    int count = 0;
    if (!(words >> rung >> count) || count < 1) Fail("expected RUNG COUNT, got " + line);
    ladder.Block(rung, count);
  }
  return 0;
}
