#include "server/rpc/rpc_server.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>

#include <cstdlib>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/rpc/connections.h"

namespace torchd {
namespace {

// Far above what a connection has under way, for what cannot be answered in time is refused at
// once.
constexpr int kCallsPerConnectionMax = 8192;

// gRPC reports at its ERROR what is an answer elsewhere (a port in use), so it is debug for us.
void LogFromGrpc(gpr_log_func_args* args) {
  Log(Severity::kDebug, "grpc", {{"message", args->message}});
}

// It complains of what a client sent, or of a text of ours that is none.
void LogFromProtobuf(google::protobuf::LogLevel, const char*, int, const std::string& message) {
  Log(Severity::kDebug, "protobuf", {{"message", message}});
}

// "127.0.0.1:0" with the port that the kernel chose.
std::string WithPort(const std::string& address, int port) {
  return absl::StrCat(address.substr(0, address.rfind(':')), ":", port);
}

}  // namespace

void RpcServer::PrepareProcess() {
  gpr_set_log_function(LogFromGrpc);
  google::protobuf::SetLogHandler(LogFromProtobuf);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(
    const Options& options, const std::vector<grpc::Service*>& services) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.address, grpc::InsecureServerCredentials(), &port);
  // Otherwise a second daemon would share the port in silence.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(options.message_bytes_max);
  // So that messages do not pile up before the classifier can refuse them.
  grpc::ResourceQuota quota("torchd");
  quota.Resize(static_cast<size_t>(options.buffers_bytes_max));
  builder.SetResourceQuota(quota);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kCallsPerConnectionMax);
  for (grpc::Service* service : services) builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options.address,
                     " for gRPC: the address is in use or not of this machine"));
  }
  return absl::WrapUnique(new RpcServer(std::move(server), WithPort(options.address, port)));
}

RpcServer::RpcServer(std::unique_ptr<grpc::Server> server, std::string address)
    : server_(std::move(server)), address_(std::move(address)) {
  SetServing("", false);
}

RpcServer::~RpcServer() { Shutdown(Duration(0)); }

void RpcServer::SetServing(const std::string& service, bool serving) {
  server_->GetHealthCheckService()->SetServingStatus(service, serving);
}

void RpcServer::SetNeverServing() { server_->GetHealthCheckService()->Shutdown(); }

void RpcServer::CutConnections() {
  torchd::CutConnections(std::atoi(address_.c_str() + address_.rfind(':') + 1));
}

void RpcServer::Shutdown(Duration limit) {
  server_->Shutdown(std::chrono::system_clock::now() +
                    std::chrono::duration_cast<std::chrono::system_clock::duration>(limit));
  server_->Wait();
}

}  // namespace torchd
