// What operators ask: models and the server itself. Read-only.
//
// Thread-safety: gRPC calls it from many threads.
#pragma once

#include <functional>

#include "server/registry/registry.h"
#include "torchd/v1/admin.grpc.pb.h"

namespace torchd {

class AdminService final : public v1::AdminService::CallbackService {
 public:
  // `status` fills in everything but the counts of versions. Borrows the registry.
  AdminService(const Registry& registry, std::function<void(v1::GetServerStatusResponse&)> status)
      : registry_(registry), status_(std::move(status)) {}

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetServerStatus(grpc::CallbackServerContext* context,
                                            const v1::GetServerStatusRequest* request,
                                            v1::GetServerStatusResponse* response) override;

 private:
  const Registry& registry_;
  const std::function<void(v1::GetServerStatusResponse&)> status_;
};

}  // namespace torchd
