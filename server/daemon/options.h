// What the settings mean to each part.
//
// Thread-safety: functions without state.
#pragma once

#include "server/batching/executors.h"
#include "server/classify/prep_queue.h"
#include "server/config/server_config.h"
#include "server/daemon/model_trial.h"
#include "server/daemon/plan_search.h"
#include "server/daemon/warm_up.h"
#include "server/http/classify_body.h"
#include "server/http/http_server.h"
#include "server/preprocessing/preprocessor.h"
#include "server/registry/control.h"
#include "server/registry/repository.h"
#include "server/registry/repository_source.h"
#include "server/rpc/rpc_server.h"
#include "server/trial/trials.h"

namespace torchd {

Executors::Options ExecutorOptions(const ServerConfig& config);
WarmUpOptions WarmUpOptionsOf(const ServerConfig& config);
PrepQueue::Limits PreprocessLimits(const ServerConfig& config);
RpcServer::Options RpcOptions(const ServerConfig& config);
HttpServer::Options HttpOptions(const ServerConfig& config);
BodyLimits BodyLimitsOf(const ServerConfig& config);
ImageLimits LimitsOf(const ServerConfig& config);
ScanOptions ScanOf(const ServerConfig& config);
ControlMode ModeOf(const ServerConfig& config);
RepositorySource::Options SourceOptions(const ServerConfig& config);
RepositoryControl::Options ControlOptions(const ServerConfig& config);
ModelTrialLimits TrialLimitsOf(const ServerConfig& config);
// `trials` outlives the search; null: nothing is tried.
PlanSearch PlanSearchOf(const ServerConfig& config, Trials* trials, const Clock& clock);

}  // namespace torchd
