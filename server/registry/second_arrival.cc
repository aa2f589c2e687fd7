#include "server/registry/second_arrival.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "server/base/status_macros.h"
#include "server/registry/same_answer.h"

namespace torchd {
namespace {

int64_t FileBytes(const std::string& path) {
  std::error_code error;
  const auto size = path.empty() ? 0 : std::filesystem::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(size);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Servable>> ArriveAgain(const Servable& serving,
                                                      const VersionFolder& read, PlanChoice choice,
                                                      const ArrivalParts& parts,
                                                      MemoryBudget& memory,
                                                      ServerMetrics& metrics) {
  const int64_t package_bytes =
      choice.plan == Plan::kPackage ? FileBytes(read.package_file) : int64_t{0};
  // While it loads: the archives as well as the weights, as at the first time.
  const int64_t stays = serving.memory.bytes() + package_bytes;
  TORCHD_ASSIGN_OR_RETURN(
      MemoryBudget::Lease lease,
      memory.Reserve(std::max(stays, 2 * (FileBytes(read.ModelFile()) + package_bytes))));
  TORCHD_ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                          parts.load(read, serving.config, choice.teamed()));
  LogFailedPlan(*model, serving.name, serving.version);
  TORCHD_ASSIGN_OR_RETURN(std::unique_ptr<Lane> lane, parts.warm_up(*model, serving.config));
  model->Settle();
  if (parts.run) {
    TORCHD_ASSIGN_OR_RETURN(const std::vector<Tensor> expected, parts.run(*serving.model));
    TORCHD_ASSIGN_OR_RETURN(const std::vector<Tensor> got, parts.run(*model));
    TORCHD_RETURN_IF_ERROR(CheckSameAnswer(expected, got, SameAnswerTolerance(serving.config)));
  }
  TORCHD_RETURN_IF_ERROR(lease.Resize(stays));
  std::vector<std::string> notes = NotesOf(serving.config, *model, *lane);
  return std::make_unique<Servable>(Servable{
      serving.name, serving.version, serving.config, serving.labels, std::move(model),
      std::move(lane), serving.preprocessor, metrics.ForModel(serving.name, serving.version),
      std::move(lease), std::move(choice), std::move(notes), serving.folder});
}

}  // namespace torchd
