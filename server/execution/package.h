// An AOTInductor package on disk: a zip file, unpacked for as long as its code is being loaded.
// Private to the folder `execution`.
//
// LibTorch's own AOTIModelPackageLoader is not used: it unpacks to /tmp whatever TMPDIR says,
// leaves that there when it fails, calls a compiler for packages that hold sources, and reads past
// the end of a list for an archive of one file.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/base/scratch_folder.h"

namespace torchd {

struct Package {
  ScratchFolder folder;
  std::string library;  // The code: a shared library in `folder`.
  std::string source;   // Of the code, for what it says of its inputs; may be empty.
  std::string weights;  // Likewise, where they are a file of their own; else empty.
};

// INVALID_ARGUMENT when it is no package of one model called "model", or for another kind of
// machine; INTERNAL when it is damaged.
absl::StatusOr<Package> Unpack(const std::string& path);

// Why code compiled as the metadata says (a JSON object of strings) cannot run here; OK if it can.
// What it does not say, as most packages do not say their TORCH_VERSION, is not checked.
absl::Status CheckMachine(const std::string& metadata);

}  // namespace torchd
