// Talks to one torchd server.
//
//   absl::StatusOr<std::unique_ptr<torchd::Client>> client =
//       torchd::Client::Connect("127.0.0.1:8001", std::chrono::seconds(5));
//   if (!client.ok()) return client.status();
//   torchd::v1::ClassifyRequest request;
//   request.add_items()->set_image(jpeg);
//   absl::StatusOr<torchd::v1::ClassifyResponse> answer =
//       (*client)->Classify(request, std::chrono::seconds(1));
//
// Errors: the server's own code and message (proto/torchd/v1/*.proto says which), or UNAVAILABLE
// with IsUnreachable() when there was no connection to ask over.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "torchd/v1/admin.pb.h"
#include "torchd/v1/benchmark.pb.h"
#include "torchd/v1/inference.pb.h"

namespace torchd {

// Thread-safety: any number of threads at once. The destructor waits for none of them.
// Time: each call takes the longest it may last; past it the answer is DEADLINE_EXCEEDED.
class Client {
 public:
  // `address`: HOST:PORT. Waits at most `timeout` for the connection, and gives up as soon as it is
  // refused. Proxies from the environment are not used: a torchd is a neighbour.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const std::string& address,
                                                         std::chrono::milliseconds timeout);

  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client();

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

 private:
  struct Connection;  // gRPC's types, kept out of this header.

  explicit Client(std::unique_ptr<Connection> connection);

  const std::unique_ptr<Connection> connection_;
};

// Whether `status`, which came from a Client, means that no server was there to answer. A server
// that says UNAVAILABLE itself (loading, draining) was reached.
bool IsUnreachable(const absl::Status& status);

}  // namespace torchd
