#include "server/rpc/admin_service.h"

#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "server/rpc/wire.h"

namespace torchd {
namespace {

v1::VersionState ToWire(VersionState state) {
  switch (state) {
    case VersionState::kUnknown:
      return v1::VERSION_STATE_UNKNOWN;
    case VersionState::kLoading:
      return v1::VERSION_STATE_LOADING;
    case VersionState::kReady:
      return v1::VERSION_STATE_READY;
    case VersionState::kUnloading:
      return v1::VERSION_STATE_UNLOADING;
    case VersionState::kUnavailable:
      return v1::VERSION_STATE_UNAVAILABLE;
  }
  return v1::VERSION_STATE_UNKNOWN;
}

void ToWire(const TensorSpec& spec, v1::TensorDescription& wire) {
  wire.set_name(spec.name);
  wire.set_data_type(Name(spec.type));
  wire.mutable_shape()->Add(spec.shape.begin(), spec.shape.end());
}

void ToWire(const VersionStatus& status, v1::ModelVersion& wire) {
  wire.set_name(status.name);
  wire.set_version(status.version);
  wire.set_state(ToWire(status.state));
  wire.set_reason(status.reason);
  for (const std::string& label : status.labels) wire.add_version_labels(label);
  for (const std::string& note : status.notes) wire.add_notes(note);
  if (status.servable == nullptr) return;
  const ModelSignature& signature = status.servable->model->signature();
  for (const TensorSpec& input : signature.inputs) ToWire(input, *wire.add_inputs());
  for (const TensorSpec& output : signature.outputs) ToWire(output, *wire.add_outputs());
  for (const std::string& kind : Takes(*status.servable)) wire.add_takes(kind);
  wire.set_labels(static_cast<int>(status.servable->labels.size()));
  wire.set_memory_bytes(status.servable->memory.bytes());
  wire.set_load_ms(Microseconds(status.load_time) / 1000);
}

// The versions of `model`, as they are now.
void AddVersions(const Registry& registry, const std::string& model,
                 v1::ModelChangeResponse& response) {
  for (const VersionStatus& status : registry.Snapshot()) {
    if (status.name == model) ToWire(status, *response.add_models());
  }
}

}  // namespace

template <typename Request>
grpc::ServerUnaryReactor* AdminService::Change(Begin begin, grpc::CallbackServerContext* context,
                                               const Request* request,
                                               v1::ModelChangeResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  // The messages and the reactor live until Finish().
  (control_.*begin)(request->model(), [this, request, response, reactor](const absl::Status& done) {
    if (done.ok()) AddVersions(registry_, request->model(), *response);
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
  for (const VersionStatus& status : registry_.Snapshot()) {
    if (!request->model().empty() && request->model() != status.name) continue;
    ToWire(status, *response->add_models());
  }
  const bool unknown = !request->model().empty() && response->models_size() == 0;
  reactor->Finish(
      unknown ? grpc::Status(grpc::StatusCode::NOT_FOUND,
                             absl::StrCat("no model '", request->model(), "' in the repository"))
              : grpc::Status::OK);
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
