// The calls of torchd by the messages of the wire, for torchctl and for the client library
// (client/include/torchd/client.h), which shows no type of protobuf or gRPC.
//
// Errors: the server's own code and message (proto/torchd/v1/*.proto says which), or UNAVAILABLE
// with IsUnreachable() when there was no connection to ask over.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/include/torchd/client.h"
#include "torchd/v1/admin.pb.h"
#include "torchd/v1/benchmark.pb.h"
#include "torchd/v1/inference.pb.h"

namespace grpc {
class Channel;
}

namespace torchd {

// Thread-safety: any number of threads at once. The destructor waits for none of them.
// Time: each call takes the longest it may last; past it the answer is DEADLINE_EXCEEDED.
class WireClient {
 public:
  // Waits at most `connecting_max` for a connection, and gives up as soon as it is refused.
  static absl::StatusOr<std::unique_ptr<WireClient>> Connect(const ClientOptions& options);

  WireClient(const WireClient&) = delete;
  WireClient& operator=(const WireClient&) = delete;
  ~WireClient();

  // `timeout` is the deadline that the server sees: what cannot be answered by then is refused
  // early (RESOURCE_EXHAUSTED). Where requests wait, `request.priority` says who goes first.
  absl::StatusOr<v1::ClassifyResponse> Classify(const v1::ClassifyRequest& request,
                                                std::chrono::milliseconds timeout);

  // Tells `progress` how far it is, on the calling thread, and answers the result.
  absl::StatusOr<v1::BenchmarkResult> Benchmark(
      const v1::BenchmarkRequest& request, std::chrono::milliseconds timeout,
      const std::function<void(const v1::BenchmarkProgress&)>& progress);

  // `request.model` empty: all models.
  absl::StatusOr<v1::ListModelsResponse> ListModels(const v1::ListModelsRequest& request,
                                                    std::chrono::milliseconds timeout);

  // Each answers when the model has nothing more to do.
  absl::StatusOr<v1::ModelChangeResponse> LoadModel(const std::string& model,
                                                    std::chrono::milliseconds timeout);
  absl::StatusOr<v1::ModelChangeResponse> UnloadModel(const std::string& model,
                                                      std::chrono::milliseconds timeout);
  absl::StatusOr<v1::ModelChangeResponse> ReloadModel(const std::string& model,
                                                      std::chrono::milliseconds timeout);

  absl::StatusOr<v1::GetServerStatusResponse> GetServerStatus(std::chrono::milliseconds timeout);

  // For services that this class does not know.
  std::shared_ptr<grpc::Channel> channel() const;

 private:
  struct Connection;  // gRPC's types, kept out of this header.

  explicit WireClient(std::unique_ptr<Connection> connection);

  const std::unique_ptr<Connection> connection_;
};

}  // namespace torchd
