#include "client/input_files.h"

#include <glob.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace torchd {
namespace {

namespace fs = std::filesystem;

absl::Status CannotRead(absl::string_view path, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("cannot read '", path, "': ", why));
}

bool IsImageName(const fs::path& path) {
  const std::string ending = absl::AsciiStrToLower(path.extension().string());
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png" || ending == ".webp";
}

absl::Status CheckFile(const std::string& path) {
  return access(path.c_str(), R_OK) == 0 ? absl::OkStatus()
                                         : CannotRead(path, std::strerror(errno));
}

class Expansion {
 public:
  absl::Status AddWord(const std::string& word) {
    std::error_code error;
    if (word == "-") return Add(word);
    if (fs::exists(word, error)) return AddPath(word);
    if (word.find_first_of("*?[") == std::string::npos) return CheckFile(word);
    return AddPattern(word);
  }

  std::vector<std::string> Take() { return std::move(files_); }

 private:
  absl::Status Add(const std::string& file) {
    if (files_.size() == kInputFilesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("more than ", kInputFilesMax, " files; expected fewer in one run"));
    }
    files_.push_back(file);
    return absl::OkStatus();
  }

  absl::Status AddPath(const std::string& path) {
    std::error_code error;
    if (fs::is_directory(path, error)) return AddFolder(path);
    absl::Status readable = CheckFile(path);
    return readable.ok() ? Add(path) : readable;
  }

  absl::Status AddFolder(const std::string& folder) {
    std::vector<std::string> found;
    std::error_code error;
    fs::recursive_directory_iterator walk(folder, error);
    for (; !error && walk != fs::recursive_directory_iterator(); walk.increment(error)) {
      const fs::path& path = walk->path();
      std::error_code ignored;  // What is neither is left out.
      if (absl::string_view(path.filename().c_str())[0] == '.') {
        if (walk->is_directory(ignored)) walk.disable_recursion_pending();
      } else if (IsImageName(path) && walk->is_regular_file(ignored)) {
        found.push_back(path.string());
      }
    }
    if (error) return CannotRead(folder, error.message());
    if (found.empty()) return CannotRead(folder, "no .jpg, .jpeg, .png or .webp in this folder");
    std::sort(found.begin(), found.end());
    for (const std::string& file : found) {
      absl::Status added = CheckFile(file);
      if (added.ok()) added = Add(file);
      if (!added.ok()) return added;
    }
    return absl::OkStatus();
  }

  absl::Status AddPattern(const std::string& pattern) {
    glob_t matches = {};
    const int code = glob(pattern.c_str(), 0, nullptr, &matches);
    absl::Status status =
        code == 0 ? absl::OkStatus() : CannotRead(pattern, "no file matches this pattern");
    for (size_t i = 0; status.ok() && i < matches.gl_pathc; ++i) {
      status = AddPath(matches.gl_pathv[i]);
    }
    globfree(&matches);
    return status;
  }

  std::vector<std::string> files_;
};

}  // namespace

absl::StatusOr<std::vector<std::string>> ExpandInputs(const std::vector<std::string>& words) {
  Expansion expansion;
  for (const std::string& word : words) {
    absl::Status added = expansion.AddWord(word);
    if (!added.ok()) return added;
  }
  return expansion.Take();
}

}  // namespace torchd
