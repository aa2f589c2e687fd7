#include "server/rpc/admin_service.h"

#include <grpcpp/grpcpp.h>

#include <string>

#include "server/rpc/listing.h"
#include "server/rpc/wire.h"

namespace torchd {

void AdminService::AddVersions(const std::string& model, Versions& versions) const {
  for (const VersionStatus& status : registry_.Snapshot()) {
    if (!model.empty() && status.name != model) continue;
    const Servable* const servable = status.servable.get();
    const int rows_waiting = servable == nullptr ? 0 : rows_waiting_(*servable->lane);
    ToWire(status, rows_waiting, *versions.Add());
  }
}

template <typename Request>
grpc::ServerUnaryReactor* AdminService::Change(Begin begin, grpc::CallbackServerContext* context,
                                               const Request* request,
                                               v1::ModelChangeResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  // The messages and the reactor live until Finish().
  (control_.*begin)(request->model(), [this, request, response, reactor](const absl::Status& done) {
    if (done.ok()) AddVersions(request->model(), *response->mutable_models());
    reactor->Finish(torchd::ToWire(done));
  });
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::LoadModel(grpc::CallbackServerContext* context,
                                                  const v1::LoadModelRequest* request,
                                                  v1::ModelChangeResponse* response) {
  return Change(&RepositoryControl::Load, context, request, response);
}

grpc::ServerUnaryReactor* AdminService::UnloadModel(grpc::CallbackServerContext* context,
                                                    const v1::UnloadModelRequest* request,
                                                    v1::ModelChangeResponse* response) {
  return Change(&RepositoryControl::Unload, context, request, response);
}

grpc::ServerUnaryReactor* AdminService::ReloadModel(grpc::CallbackServerContext* context,
                                                    const v1::ReloadModelRequest* request,
                                                    v1::ModelChangeResponse* response) {
  return Change(&RepositoryControl::Reload, context, request, response);
}

grpc::ServerUnaryReactor* AdminService::ListModels(grpc::CallbackServerContext* context,
                                                   const v1::ListModelsRequest* request,
                                                   v1::ListModelsResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (!request->model().empty()) {
    const absl::Status name = CheckModelName(request->model());
    if (!name.ok()) {
      reactor->Finish(torchd::ToWire(name));
      return reactor;
    }
  }
  AddVersions(request->model(), *response->mutable_models());
  const bool unknown = !request->model().empty() && response->models_size() == 0;
  reactor->Finish(unknown ? torchd::ToWire(NoModel(request->model())) : grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::GetServerStatus(grpc::CallbackServerContext* context,
                                                        const v1::GetServerStatusRequest*,
                                                        v1::GetServerStatusResponse* response) {
  status_(*response);
  for (const VersionStatus& status : registry_.Snapshot()) {
    response->set_versions_total(response->versions_total() + 1);
    if (status.state == VersionState::kReady) {
      response->set_versions_ready(response->versions_ready() + 1);
    }
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace torchd
