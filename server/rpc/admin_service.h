// What operators ask and tell: models and the server itself.
//
// Thread-safety: gRPC calls it from many threads.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "server/batching/lane.h"
#include "server/registry/control.h"
#include "server/registry/registry.h"
#include "torchd/v1/admin.grpc.pb.h"

namespace torchd {

class AdminService final : public v1::AdminService::CallbackService {
 public:
  using FillStatus = std::function<void(v1::GetServerStatusResponse&)>;
  using RowsWaiting = std::function<int(const Lane&)>;

  // `status` fills in everything but the counts of versions. Borrows registry and control.
  AdminService(const Registry& registry, RepositoryControl& control, FillStatus status,
               RowsWaiting rows_waiting)
      : registry_(registry),
        control_(control),
        status_(std::move(status)),
        rows_waiting_(std::move(rows_waiting)) {}

  grpc::ServerUnaryReactor* LoadModel(grpc::CallbackServerContext* context,
                                      const v1::LoadModelRequest* request,
                                      v1::ModelChangeResponse* response) override;
  grpc::ServerUnaryReactor* UnloadModel(grpc::CallbackServerContext* context,
                                        const v1::UnloadModelRequest* request,
                                        v1::ModelChangeResponse* response) override;
  grpc::ServerUnaryReactor* ReloadModel(grpc::CallbackServerContext* context,
                                        const v1::ReloadModelRequest* request,
                                        v1::ModelChangeResponse* response) override;

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetServerStatus(grpc::CallbackServerContext* context,
                                            const v1::GetServerStatusRequest* request,
                                            v1::GetServerStatusResponse* response) override;

 private:
  using Begin = void (RepositoryControl::*)(const std::string& name,
                                            const RepositoryControl::Done& done);

  using Versions = google::protobuf::RepeatedPtrField<v1::ModelVersion>;

  // Those of `model`, or all where it is empty, as they are now.
  void AddVersions(const std::string& model, Versions& versions) const;

  template <typename Request>
  grpc::ServerUnaryReactor* Change(Begin begin, grpc::CallbackServerContext* context,
                                   const Request* request, v1::ModelChangeResponse* response);

  const Registry& registry_;
  RepositoryControl& control_;
  const FillStatus status_;
  const RowsWaiting rows_waiting_;
};

}  // namespace torchd
