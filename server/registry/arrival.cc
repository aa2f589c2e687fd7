#include "server/registry/arrival.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "server/base/status_macros.h"
#include "server/registry/same_answer.h"
#include "server/registry/sealed_file.h"

namespace torchd {
namespace {

// A frozen model holds its weights once, the archive is read beside it.
constexpr int64_t kMemoryPerFileByte = 2;

// Labels beside a model of another size are a mix-up that would mislabel every answer.
absl::Status CheckLabels(const std::vector<std::string>& labels, const ModelSignature& signature) {
  const int64_t classes = signature.outputs.at(0).shape.at(0);
  if (labels.empty() || static_cast<int64_t>(labels.size()) == classes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("labels: ", labels.size(), " lines for ", classes,
                                                 " classes; expected one line for each"));
}

int64_t FileBytes(const std::string& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(size);
}

absl::Status In(const char* step, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(step, ": ", status.message()));
}

// A trial takes as much memory as the model will, and knows better than the file's size.
absl::StatusOr<Trial> Try(const VersionFolder& folder, const ArrivalParts& parts,
                          MemoryBudget::Lease& lease) {
  if (!parts.trial) return Trial();
  auto trial = parts.trial(folder);
  TORCHD_RETURN_IF_ERROR(trial.status());
  if (trial->memory_bytes > 0) TORCHD_RETURN_IF_ERROR(lease.Resize(trial->memory_bytes));
  return trial;
}

absl::Status Compare(const Trial& trial, const ArrivalParts& parts, Model& model) {
  if (trial.outputs.empty() || !parts.run) return absl::OkStatus();
  const auto got = parts.run(model);
  TORCHD_RETURN_IF_ERROR(got.status());
  return CheckSameAnswer(trial.outputs, *got);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Servable>> Arrive(const VersionFolder& folder,
                                                 const ArrivalParts& parts, MemoryBudget& memory,
                                                 ServerMetrics& metrics) {
  TORCHD_RETURN_IF_ERROR(folder.status);
  TORCHD_ASSIGN_OR_RETURN(VersionFiles files, ReadVersionFiles(folder));
  const std::string path = folder.ModelFile();
  TORCHD_ASSIGN_OR_RETURN(MemoryBudget::Lease lease,
                          memory.Reserve(FileBytes(path) * kMemoryPerFileByte));
  std::optional<SealedFile> sealed;  // What was tried is what is loaded.
  VersionFolder read = folder;
  if (parts.trial) {
    auto copied = SealedFile::Copy(path);
    TORCHD_RETURN_IF_ERROR(copied.status());
    sealed.emplace(*std::move(copied));
    (folder.model_file.empty() ? read.package_file : read.model_file) = sealed->path();
  }
  const auto named = [&](const absl::Status& status) {  // Errors name the file as its owner does.
    return absl::Status(status.code(),
                        absl::StrReplaceAll(status.message(), {{read.ModelFile(), path}}));
  };
  const auto trial = Try(read, parts, lease);
  if (!trial.ok()) return named(trial.status());
  auto loaded = parts.load(read.ModelFile(), files.config);
  if (!loaded.ok()) return named(loaded.status());
  std::unique_ptr<Model> model = *std::move(loaded);
  TORCHD_RETURN_IF_ERROR(CheckLabels(files.labels, model->signature()));
  TORCHD_ASSIGN_OR_RETURN(Preprocessor preprocessor,
                          Preprocessor::Create(files.config, model->signature().inputs,
                                               files.vocabulary, parts.image_limits));
  TORCHD_RETURN_IF_ERROR(parts.warm_up(*model));
  TORCHD_RETURN_IF_ERROR(In("compared with its trial run", Compare(*trial, parts, *model)));
  return std::make_unique<Servable>(
      Servable{folder.name, folder.version, std::move(files.config), std::move(files.labels),
               std::move(model), std::move(preprocessor),
               metrics.ForModel(folder.name, folder.version), std::move(lease)});
}

}  // namespace torchd
