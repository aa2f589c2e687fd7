#include "server/execution/package.h"

#include <ATen/cpu/Utils.h>
#include <caffe2/serialize/inline_container.h>
#include <sys/utsname.h>
#include <torch/version.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/status_macros.h"
#include "server/execution/catch_torch.h"

namespace torchd {
namespace {

constexpr char kModelFolder[] = "data/aotinductor/model/";
constexpr size_t kSourceBytesMax = size_t{16} << 20;
constexpr char kConstantsFolder[] = "data/constants/";

using caffe2::serialize::PyTorchStreamReader;

// The value of `key` in a flat JSON object of strings without escapes; empty where there is none.
std::string Field(const std::string& json, const std::string& key) {
  const size_t at = json.find(absl::StrCat("\"", key, "\""));
  if (at == std::string::npos) return "";
  const size_t begin = json.find('"', json.find(':', at));
  if (begin == std::string::npos) return "";
  const size_t end = json.find('"', begin + 1);
  return end == std::string::npos ? "" : json.substr(begin + 1, end - begin - 1);
}

// What inductor calls an instruction set; one it does not know is left to the trial run.
bool CpuHas(absl::string_view name) {
  if (name == "AVX2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (name == "AVX512") {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  }
  if (name == "AVX512_VNNI") return __builtin_cpu_supports("avx512vnni");
  if (name == "AMX_TILE") return at::cpu::init_amx();
  return true;
}

// "2.11" of "2.11.0+cpu": what compiled code calls in LibTorch may be another from one to the next.
std::string Release(const std::string& version) {
  const size_t minor = version.find('.');
  return minor == std::string::npos ? version : version.substr(0, version.find('.', minor + 1));
}

// The name of the file that `record` becomes: what lies right in one of the two folders, so that
// no name leads out of them. Empty: not a file that is needed.
std::string FileOf(const std::string& record) {
  for (const char* folder : {kModelFolder, kConstantsFolder}) {
    if (!absl::StartsWith(record, folder)) continue;
    std::string name = record.substr(std::strlen(folder));
    if (!name.empty() && name[0] != '.' && !absl::StrContains(name, "/") &&
        !absl::EndsWith(name, ".cpp")) {
      return name;
    }
  }
  return "";
}

bool IsSource(const std::string& record) {
  return absl::StartsWith(record, kModelFolder) && absl::EndsWith(record, ".wrapper.cpp");
}

std::string ReadAll(PyTorchStreamReader& reader, const std::string& record) {
  const auto [data, size] = reader.getRecord(record);  // Checks the checksum.
  return {static_cast<const char*>(data.get()), size};
}

absl::Status WriteRecord(PyTorchStreamReader& reader, const std::string& record,
                         const std::string& path) {
  const auto [data, size] = reader.getRecord(record);
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(data.get()), static_cast<std::streamsize>(size));
  file.close();
  if (file) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("cannot write ", size, " bytes to ", path, ": ", std::strerror(errno)));
}

absl::StatusOr<Package> UnpackAll(PyTorchStreamReader& reader, ScratchFolder folder) {
  Package package{std::move(folder), "", "", ""};
  std::string metadata;
  for (const std::string& record : reader.getAllRecords()) {
    if (IsSource(record)) package.source = ReadAll(reader, record).substr(0, kSourceBytesMax);
    const std::string name = FileOf(record);
    if (name.empty()) continue;
    const std::string path = absl::StrCat(package.folder.path(), "/", name);
    if (absl::EndsWith(name, "wrapper_metadata.json")) metadata = ReadAll(reader, record);
    TORCHD_RETURN_IF_ERROR(WriteRecord(reader, record, path));
    if (absl::EndsWith(name, ".so")) package.library = path;
    if (absl::EndsWith(name, ".blob")) package.weights = path;
  }
  if (package.library.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("it holds no ", kModelFolder,
                     "*.so, as a package by "
                     "torch._inductor.aoti_compile_and_package does; a TorchScript archive is "
                     "called model.pt"));
  }
  TORCHD_RETURN_IF_ERROR(CheckMachine(metadata));
  return package;
}

}  // namespace

absl::StatusOr<Package> Unpack(const std::string& path) {
  TORCHD_ASSIGN_OR_RETURN(ScratchFolder folder, ScratchFolder::Make());
  auto package = CatchTorch(absl::StrCat("reading ", path), [&] {
    PyTorchStreamReader reader(path);
    return UnpackAll(reader, std::move(folder));
  });
  if (!package.ok()) return package.status();
  if (package->ok()) return *std::move(package);
  return absl::Status(package->status().code(),
                      absl::StrCat("reading ", path, ": ", package->status().message()));
}

absl::Status CheckMachine(const std::string& metadata) {
  const std::string device = Field(metadata, "AOTI_DEVICE_KEY");
  if (device != "cpu") {
    return absl::InvalidArgumentError(
        absl::StrCat("the package is compiled for device '", device, "', expected 'cpu'"));
  }
  const std::string torch = Field(metadata, "TORCH_VERSION");  // By torchd_export.
  if (!torch.empty() && Release(torch) != Release(TORCH_VERSION)) {
    return absl::InvalidArgumentError(absl::StrCat("the package is compiled by torch ", torch,
                                                   ", this server runs LibTorch ", TORCH_VERSION,
                                                   ": export it with that version"));
  }
  utsname here{};
  uname(&here);
  const std::string machine = Field(metadata, "AOTI_MACHINE");
  if (!machine.empty() && machine != here.machine) {
    return absl::InvalidArgumentError(
        absl::StrCat("the package is compiled for ", machine, ", this machine is ", here.machine));
  }
  for (const absl::string_view name :
       absl::StrSplit(Field(metadata, "AOTI_CPU_ISA"), ' ', absl::SkipEmpty())) {
    if (CpuHas(name)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the package is compiled for processors with ", name,
                     ", which this one lacks: export it on a machine like this one"));
  }
  return absl::OkStatus();
}

}  // namespace torchd
