#include "server/daemon/model_trial.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "server/base/scratch_folder.h"
#include "server/base/status_macros.h"
#include "server/execution/load_model.h"
#include "server/execution/torch_runtime.h"
#include "server/inference/trial_row.h"
#include "server/registry/archive.h"
#include "server/trial/tensor_codec.h"

namespace torchd {
namespace {

constexpr int64_t kMebibyte = 1 << 20;
// A .pt2 unpacks itself into files; a .pt has no business to write any.
constexpr int64_t kPackageFileBytesMax = int64_t{16} << 30;
constexpr size_t kFields = 5;
constexpr char kSeparator = '\0';  // No path has one.

std::string EncodeFolder(const VersionFolder& folder) {
  return absl::StrJoin({folder.repository, folder.model_folder, folder.folder, folder.model_file,
                        folder.package_file},
                       absl::string_view(&kSeparator, 1));
}

absl::StatusOr<VersionFolder> DecodeFolder(absl::string_view request) {
  std::vector<std::string> fields = absl::StrSplit(request, kSeparator);
  if (fields.size() != kFields) return absl::InternalError("a trial's request is not as expected");
  VersionFolder folder;
  folder.repository = std::move(fields[0]);
  folder.model_folder = std::move(fields[1]);
  folder.folder = std::move(fields[2]);
  folder.model_file = std::move(fields[3]);
  folder.package_file = std::move(fields[4]);
  return folder;
}

}  // namespace

absl::StatusOr<Trial> RunModelTrial(Trials& trials, const VersionFolder& folder,
                                    const ModelTrialLimits& limits) {
  const std::string path = folder.ModelFile();
  TORCHD_RETURN_IF_ERROR(CheckArchive(path));
  TrialLimits trial_limits;
  trial_limits.time_max = std::chrono::seconds(limits.seconds_max);
  trial_limits.memory_bytes_max = limits.memory_mb_max * kMebibyte;
  const bool package = absl::EndsWith(path, ".pt2");
  trial_limits.file_bytes_max = package ? kPackageFileBytesMax : 0;
  auto answer = trials.Run(EncodeFolder(folder), trial_limits);
  // No process of the trial is left, so what it unpacked is nobody's if it is still there.
  if (package && !answer.ok()) RemoveAbandonedScratch();
  TORCHD_RETURN_IF_ERROR(answer.status());
  auto decoded = DecodeTensors(answer->payload);
  if (!decoded.ok()) {
    return absl::InternalError(
        absl::StrCat("the trial's answer is damaged: ", decoded.status().message()));
  }
  return Trial{std::move(decoded->tensors), answer->memory_bytes, answer->memory_peak_bytes};
}

void PrepareForTrials() {
  PrepareTorchProcess();
  PrepareLoaderThread();
  RunFirstModel();
}

absl::StatusOr<std::string> TryModel(absl::string_view request) {
  TORCHD_ASSIGN_OR_RETURN(const VersionFolder folder, DecodeFolder(request));
  TORCHD_ASSIGN_OR_RETURN(const VersionFiles files, ReadVersionFiles(folder));
  TORCHD_ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                          LoadModel(folder.ModelFile(), files.config));
  TORCHD_ASSIGN_OR_RETURN(const std::vector<Tensor> outputs, RunTrialRow(*model));
  // Never destroyed: what this process takes while it answers is what the model takes.
  return EncodeTensors(model.release()->signature(), outputs);
}

}  // namespace torchd
