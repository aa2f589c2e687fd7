#include "server/registry/arrival.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"
#include "server/registry/same_answer.h"
#include "server/registry/sealed_version.h"

namespace torchd {
namespace {

// While it loads: the archive as it was read, and the weights of the model.
constexpr int64_t kMemoryPerFileByte = 2;

// Labels beside a model of another size are a mix-up that would mislabel every answer.
absl::Status CheckLabels(const std::vector<std::string>& labels, const ModelSignature& signature) {
  const int64_t classes = signature.outputs.at(0).shape.at(0);
  if (labels.empty() || static_cast<int64_t>(labels.size()) == classes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("labels: ", labels.size(), " lines for ", classes,
                                                 " classes; expected one line for each"));
}

// -1 stands for any size.
bool Matches(const Shape& said, const Shape& given) {
  return std::equal(said.begin(), said.end(), given.begin(), given.end(),
                    [](int64_t one, int64_t other) { return one == -1 || one == other; });
}

int64_t FileBytes(const std::string& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(size);
}

// Where the model's outputs are not those that its owner described. They are served as they are.
std::vector<std::string> OutputNotes(const ModelConfig& config, const ModelSignature& signature) {
  std::vector<std::string> notes;
  for (size_t i = 0; i < config.output_names.size(); ++i) {
    const std::string& name = config.output_names[i];
    const auto said = config.output_shapes.find(name);
    if (i >= signature.outputs.size()) {
      if (!name.empty()) {
        notes.push_back(absl::StrCat("output '", name, "': the model has no output ", i));
      }
      continue;
    }
    const Shape& given = signature.outputs[i].shape;
    if (said == config.output_shapes.end() || Matches(said->second, given)) continue;
    notes.push_back(absl::StrCat("output '", name, "': declared with shape ",
                                 ShapeText(said->second), ", the model gives ", ShapeText(given)));
  }
  return notes;
}

absl::Status In(const char* step, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(step, ": ", status.message()));
}

// The model takes as much memory as its trial did, beside the archive, and never less than a file
// of its size lets expect.
absl::StatusOr<Trial> Try(VersionFolder folder, const ModelConfig& config,
                          const ArrivalParts& parts, int64_t file_bytes,
                          MemoryBudget::Lease& lease) {
  if (!parts.trial) return Trial();
  // A package that may serve is tried with the plans, one that has to serve here.
  const bool candidate = !folder.model_file.empty() && config.plan != Plan::kPackage;
  if (candidate) folder.package_file.clear();
  absl::StatusOr<Trial> trial = absl::UnknownError("not tried");
  parts.aside([&] { trial = parts.trial(folder); });
  TORCHD_RETURN_IF_ERROR(trial.status());
  TORCHD_RETURN_IF_ERROR(
      lease.Resize(std::max(lease.bytes(), file_bytes + trial->memory_peak_bytes)));
  return trial;
}

// The archive is gone, and the trial has shown what stays: the weights at least, which a package
// keeps in a file. Without that proof nothing is given back. `package_bytes`: of a package that
// serves beside what was tried.
absl::Status KeepWhatStays(const Trial& trial, int64_t file_bytes, int64_t package_bytes,
                           MemoryBudget::Lease& lease) {
  if (trial.memory_bytes == 0) return absl::OkStatus();
  return lease.Resize(std::max(file_bytes, trial.memory_bytes) + package_bytes);
}

// A package is a plan where it lies there.
absl::Status CheckPackage(const VersionFolder& folder, const ModelConfig& config) {
  const bool lone = folder.model_file.empty() && !folder.package_file.empty();
  if (config.plan == Plan::kPackage && folder.package_file.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("plan is package, but there is no ", folder.folder, "/model.pt2"));
  }
  if (lone && config.plans_forbidden.count(Plan::kPackage) > 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("plans_forbidden has package, and there is only ", folder.package_file));
  }
  if (lone && config.plan_threads > 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("plan_threads is ", config.plan_threads, ", but there is only ",
                     folder.package_file, ", which has the threads that it was compiled for"));
  }
  return absl::OkStatus();
}

absl::Status CheckThreads(const ModelConfig& config, int executor_threads) {
  if (executor_threads == 0 || config.plan_threads <= executor_threads) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("plan_threads is ", config.plan_threads, ", expected 1..", executor_threads,
                   ": an executor has no more threads (threads_per_executor)"));
}

// A model that is ready to serve.
struct Ready {
  std::unique_ptr<Model> model;
  std::unique_ptr<Lane> lane;
};

absl::StatusOr<Ready> MakeReady(const VersionFolder& read, const VersionFiles& files,
                                const ArrivalParts& parts, const Trial& trial, TeamedPlan plan) {
  TORCHD_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, parts.load(read, files.config, plan));
  LogFailedPlan(*model, read.name, read.version);
  TORCHD_RETURN_IF_ERROR(CheckLabels(files.labels, model->signature()));
  TORCHD_ASSIGN_OR_RETURN(std::unique_ptr<Lane> lane, parts.warm_up(*model, files.config));
  model->Settle();
  if (!trial.outputs.empty() && parts.run) {
    const auto got = parts.run(*model);
    TORCHD_RETURN_IF_ERROR(In("compared with its trial run", got.status()));
    TORCHD_RETURN_IF_ERROR(
        In("compared with its trial run",
           CheckSameAnswer(trial.outputs, *got, SameAnswerTolerance(files.config))));
  }
  return Ready{std::move(model), std::move(lane)};
}

}  // namespace

void LogFailedPlan(Model& model, const std::string& name, int64_t version) {
  model.TellOfFailedPlan([name, version](Plan plan, const std::string& reason) {
    Log(Severity::kError, "plan failed, model runs as saved",
        {{"model", name},
         {"version", absl::StrCat(version)},
         {"plan", Name(plan)},
         {"reason", reason}});
  });
}

std::vector<std::string> NotesOf(const ModelConfig& config, const Model& model, const Lane& lane) {
  std::vector<std::string> notes = OutputNotes(config, model.signature());
  if (!lane.options.note.empty()) notes.push_back(lane.options.note);
  return notes;
}

absl::StatusOr<std::unique_ptr<Servable>> Arrive(const VersionFolder& folder,
                                                 const ArrivalParts& parts, MemoryBudget& memory,
                                                 ServerMetrics& metrics) {
  TORCHD_RETURN_IF_ERROR(folder.status);
  TORCHD_ASSIGN_OR_RETURN(VersionFiles files, ReadVersionFiles(folder));
  TORCHD_RETURN_IF_ERROR(CheckPackage(folder, files.config));
  TORCHD_RETURN_IF_ERROR(CheckThreads(files.config, parts.executor_threads));
  const int64_t package_bytes =
      PackageMayServe(folder, files.config) ? FileBytes(folder.package_file) : 0;
  const int64_t file_bytes = FileBytes(folder.ModelFile());
  TORCHD_ASSIGN_OR_RETURN(MemoryBudget::Lease lease,
                          memory.Reserve((file_bytes + package_bytes) * kMemoryPerFileByte));
  std::optional<SealedVersion> sealed;  // What was tried is what is loaded.
  VersionFolder read = folder;
  if (parts.trial) {
    auto copied = SealedVersion::Copy(folder, files.config);
    TORCHD_RETURN_IF_ERROR(copied.status());
    sealed.emplace(*std::move(copied));
    read = sealed->folder();
  }
  const auto named = [&](const absl::Status& status) {
    return sealed ? sealed->Named(status) : status;
  };
  const auto trial = Try(read, files.config, parts, file_bytes, lease);
  if (!trial.ok()) return named(trial.status());
  PlanChoice plan;
  if (parts.plan) parts.aside([&] { plan = parts.plan(read, files.config, *trial); });
  auto ready = MakeReady(read, files, parts, *trial, plan.teamed());
  if (!ready.ok() && !files.config.plan && !(plan.teamed() == kDefaultPlan)) {
    plan.why = absl::StrCat("'", Name(plan.plan), "' would be faster, but ",
                            named(ready.status()).message());
    plan.plan = kDefaultPlan;
    plan.threads = 0;
    ready = MakeReady(read, files, parts, *trial, plan.teamed());
  }
  if (!ready.ok()) return named(ready.status());
  std::unique_ptr<Model> model = std::move(ready->model);
  std::unique_ptr<Lane> lane = std::move(ready->lane);
  TORCHD_ASSIGN_OR_RETURN(Preprocessor preprocessor,
                          Preprocessor::Create(files.config, model->signature().inputs,
                                               files.vocabulary, parts.image_limits));
  sealed.reset();
  // Where it had to serve, the trial has counted it.
  const bool uncounted = model->plan() == Plan::kPackage && !files.config.plan;
  TORCHD_RETURN_IF_ERROR(KeepWhatStays(*trial, file_bytes, uncounted ? package_bytes : 0, lease));
  std::vector<std::string> notes = NotesOf(files.config, *model, *lane);
  for (const std::string& note : notes) {
    Log(Severity::kWarning, "model note",
        {{"model", folder.name}, {"version", absl::StrCat(folder.version)}, {"note", note}});
  }
  return std::make_unique<Servable>(
      Servable{folder.name, folder.version, std::move(files.config), std::move(files.labels),
               std::move(model), std::move(lane), std::move(preprocessor),
               metrics.ForModel(folder.name, folder.version), std::move(lease), std::move(plan),
               std::move(notes), folder});
}

}  // namespace torchd
