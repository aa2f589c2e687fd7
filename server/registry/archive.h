// Whether a model's archive (model.pt and model.pt2 are zip files) is all there. A zip file ends
// with the record that finds everything else, so a copy that stopped half-way lacks it.
//
// Thread-safety: a function without state.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace torchd {

// FAILED_PRECONDITION: the archive has no end, or its end points outside the file; it may still be
// arriving. NOT_FOUND: no file. Reads a few kilobytes at the end and nothing of the contents: an OK
// promises a whole file, not a good one.
absl::Status CheckArchive(const std::string& path);

}  // namespace torchd
