#include "client/wire_client.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/channel.h"
#include "torchd/v1/admin.grpc.pb.h"
#include "torchd/v1/benchmark.grpc.pb.h"
#include "torchd/v1/inference.grpc.pb.h"

namespace torchd {
namespace {

constexpr char kUnreachable[] = "torchd/unreachable";  // Status payload, read by IsUnreachable().

absl::Status Unreachable(const std::string& message) {
  absl::Status status = absl::UnavailableError(message);
  status.SetPayload(kUnreachable, absl::Cord("1"));
  return status;
}

std::chrono::system_clock::time_point DeadlineAfter(std::chrono::milliseconds timeout) {
  return std::chrono::system_clock::now() + timeout;
}

// gRPC's own WaitForConnected() keeps trying until the deadline; a refusal is answer enough here.
absl::Status WaitUntilReady(grpc::Channel& channel, const std::string& address,
                            std::chrono::milliseconds timeout) {
  const auto deadline = DeadlineAfter(timeout);
  while (true) {
    const grpc_connectivity_state state = channel.GetState(/*try_to_connect=*/true);
    if (state == GRPC_CHANNEL_READY) return absl::OkStatus();
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE || state == GRPC_CHANNEL_SHUTDOWN) {
      return Unreachable(absl::StrCat("no torchd answers at ", address));
    }
    if (!channel.WaitForStateChange(state, deadline)) {
      return Unreachable(absl::StrCat("no connection to ", address, " within ",
                                      static_cast<double>(timeout.count()) / 1000, " s"));
    }
  }
}

}  // namespace

struct WireClient::Connection {
  Connection(std::string server_address, std::string name_of_client,
             std::shared_ptr<grpc::Channel> open_channel)
      : address(std::move(server_address)),
        client_name(std::move(name_of_client)),
        channel(std::move(open_channel)),
        inference(v1::InferenceService::NewStub(channel)),
        admin(v1::AdminService::NewStub(channel)),
        benchmark(v1::BenchmarkService::NewStub(channel)) {}

  // Runs one call, `call(context, response)`, and turns its status into ours.
  template <typename Response, typename Call>
  absl::StatusOr<Response> Run(std::chrono::milliseconds timeout, Call call) {
    grpc::ClientContext context;
    context.set_deadline(DeadlineAfter(timeout));
    context.set_wait_for_ready(false);
    if (!client_name.empty()) context.AddMetadata("torchd-client", client_name);
    Response response;
    const grpc::Status status = call(&context, &response);
    if (status.ok()) return response;
    // gRPC says UNAVAILABLE both for itself and for the server; a server that spoke for itself has
    // left the connection standing.
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE &&
        channel->GetState(/*try_to_connect=*/false) != GRPC_CHANNEL_READY) {
      return Unreachable(absl::StrCat("lost ", address, ": ", status.error_message()));
    }
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  }

  const std::string address;
  const std::string client_name;
  const std::shared_ptr<grpc::Channel> channel;
  const std::unique_ptr<v1::InferenceService::Stub> inference;
  const std::unique_ptr<v1::AdminService::Stub> admin;
  const std::unique_ptr<v1::BenchmarkService::Stub> benchmark;
};

absl::StatusOr<std::unique_ptr<WireClient>> WireClient::Connect(const ClientOptions& options) {
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = OpenChannel(options);
  if (!channel.ok()) return channel.status();
  const std::string addresses = absl::StrJoin(options.addresses, ", ");
  absl::Status ready = WaitUntilReady(**channel, addresses, options.connecting_max);
  if (!ready.ok()) return ready;
  return absl::WrapUnique(new WireClient(
      std::make_unique<Connection>(addresses, options.client_name, *std::move(channel))));
}

WireClient::WireClient(std::unique_ptr<Connection> connection)
    : connection_(std::move(connection)) {}

WireClient::~WireClient() = default;

absl::StatusOr<v1::ClassifyResponse> WireClient::Classify(const v1::ClassifyRequest& request,
                                                          std::chrono::milliseconds timeout) {
  return connection_->Run<v1::ClassifyResponse>(
      timeout, [&](grpc::ClientContext* context, v1::ClassifyResponse* response) {
        return connection_->inference->Classify(context, request, response);
      });
}

absl::StatusOr<v1::BenchmarkResult> WireClient::Benchmark(
    const v1::BenchmarkRequest& request, std::chrono::milliseconds timeout,
    const std::function<void(const v1::BenchmarkProgress&)>& progress) {
  bool answered = false;
  auto result = connection_->Run<v1::BenchmarkResult>(
      timeout, [&](grpc::ClientContext* context, v1::BenchmarkResult* response) {
        const auto reader = connection_->benchmark->Benchmark(context, request);
        v1::BenchmarkUpdate update;
        while (reader->Read(&update)) {
          if (update.has_progress()) progress(update.progress());
          if (!update.has_result()) continue;
          *response = update.result();
          answered = true;
        }
        return reader->Finish();
      });
  if (result.ok() && !answered) return absl::InternalError("the server sent no result");
  return result;
}

absl::StatusOr<v1::ListModelsResponse> WireClient::ListModels(const v1::ListModelsRequest& request,
                                                              std::chrono::milliseconds timeout) {
  return connection_->Run<v1::ListModelsResponse>(
      timeout, [&](grpc::ClientContext* context, v1::ListModelsResponse* response) {
        return connection_->admin->ListModels(context, request, response);
      });
}

absl::StatusOr<v1::ModelChangeResponse> WireClient::LoadModel(const std::string& model,
                                                              std::chrono::milliseconds timeout) {
  v1::LoadModelRequest request;
  request.set_model(model);
  return connection_->Run<v1::ModelChangeResponse>(
      timeout, [&](grpc::ClientContext* context, v1::ModelChangeResponse* response) {
        return connection_->admin->LoadModel(context, request, response);
      });
}

absl::StatusOr<v1::ModelChangeResponse> WireClient::UnloadModel(const std::string& model,
                                                                std::chrono::milliseconds timeout) {
  v1::UnloadModelRequest request;
  request.set_model(model);
  return connection_->Run<v1::ModelChangeResponse>(
      timeout, [&](grpc::ClientContext* context, v1::ModelChangeResponse* response) {
        return connection_->admin->UnloadModel(context, request, response);
      });
}

absl::StatusOr<v1::ModelChangeResponse> WireClient::ReloadModel(const std::string& model,
                                                                std::chrono::milliseconds timeout) {
  v1::ReloadModelRequest request;
  request.set_model(model);
  return connection_->Run<v1::ModelChangeResponse>(
      timeout, [&](grpc::ClientContext* context, v1::ModelChangeResponse* response) {
        return connection_->admin->ReloadModel(context, request, response);
      });
}

absl::StatusOr<v1::GetServerStatusResponse> WireClient::GetServerStatus(
    std::chrono::milliseconds timeout) {
  return connection_->Run<v1::GetServerStatusResponse>(
      timeout, [&](grpc::ClientContext* context, v1::GetServerStatusResponse* response) {
        return connection_->admin->GetServerStatus(context, v1::GetServerStatusRequest(), response);
      });
}

std::shared_ptr<grpc::Channel> WireClient::channel() const { return connection_->channel; }

bool IsUnreachable(const absl::Status& status) {
  return status.GetPayload(kUnreachable).has_value();
}

}  // namespace torchd
