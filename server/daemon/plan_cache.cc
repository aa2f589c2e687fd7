#include "server/daemon/plan_cache.h"

#include <openssl/evp.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "server/base/atomic_file.h"
#include "server/base/log.h"

namespace torchd {
namespace {

constexpr char kFormat[] = "torchd plans 4";
constexpr size_t kRecordBytesMax = 64 * 1024;
constexpr size_t kReasonBytesMax = 400;

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    ok_ = EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1;
  }

  bool ok() const { return ok_; }
  void Add(absl::string_view bytes) {
    EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
  }

  // In hexadecimal.
  std::string Digest() {
    std::string digest(EVP_MAX_MD_SIZE, '\0');
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.data()), &size);
    digest.resize(size);
    return absl::BytesToHexString(digest);
  }

 private:
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
  bool ok_ = false;
};

std::string Expanded(const std::string& folder) {
  if (!absl::StartsWith(folder, "~/")) return folder;
  const char* const home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') return "";
  return absl::StrCat(home, folder.substr(1));
}

// Virtual machines of one name may be allowed different instructions.
std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  std::string name = "unknown";
  std::string flags;
  while (flags.empty() && std::getline(file, line)) {
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(line, absl::MaxSplits(':', 1));
    const absl::string_view key = absl::StripAsciiWhitespace(field.first);
    if (key == "model name") name = std::string(absl::StripAsciiWhitespace(field.second));
    if (key == "flags") flags = std::string(field.second);
  }
  return absl::StrCat(name, " ", DigestOfText(flags).substr(0, 8));
}

}  // namespace

PlanCache::PlanCache(const std::string& folder, std::string machine)
    : folder_(Expanded(folder)), machine_(std::move(machine)) {}

std::string PlanCache::PathOf(const std::string& digest) const {
  return absl::StrCat(folder_, "/", digest, ".plans");
}

std::optional<std::vector<PlanCandidate>> PlanCache::Find(const std::string& digest) const {
  if (folder_.empty() || digest.empty()) return std::nullopt;
  const auto record = ReadSmallFile(PathOf(digest), kRecordBytesMax);
  if (!record.ok()) return std::nullopt;
  const std::vector<absl::string_view> lines = absl::StrSplit(*record, '\n');
  if (lines.size() < 3 || lines[0] != kFormat || lines[1] != machine_) return std::nullopt;
  std::vector<PlanCandidate> candidates;
  for (size_t i = 2; i < lines.size() && !lines[i].empty(); ++i) {
    auto candidate = DecodeCandidate(lines[i]);
    if (!candidate) return std::nullopt;
    candidates.push_back(*std::move(candidate));
  }
  return candidates;
}

void PlanCache::Keep(const std::string& digest,
                     const std::vector<PlanCandidate>& candidates) const {
  if (folder_.empty() || digest.empty()) return;
  std::string record = absl::StrCat(kFormat, "\n", machine_, "\n");
  for (const PlanCandidate& candidate : candidates) {
    absl::StrAppend(&record, EncodeCandidate(candidate), "\n");
  }
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  const absl::Status kept = WriteFileAtomically(PathOf(digest), record);
  if (kept.ok()) return;
  Log(Severity::kWarning, "plans not kept, the next start tries them again",
      {{"plan_cache", folder_}, {"reason", std::string(kept.message())}});
}

std::string PlanMachine(int threads, absl::string_view libtorch) {
  return absl::StrCat("threads ", threads, ", LibTorch ", libtorch, ", ", CpuName());
}

std::string DigestOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  Sha256 sha;
  if (!file || !sha.ok()) return "";
  std::string block(size_t{1} << 20, '\0');
  while (file.read(block.data(), static_cast<std::streamsize>(block.size())), file.gcount() > 0) {
    sha.Add({block.data(), static_cast<size_t>(file.gcount())});
  }
  return file.bad() ? "" : sha.Digest();
}

std::string DigestOfText(absl::string_view text) {
  Sha256 sha;
  if (!sha.ok()) return "";
  sha.Add(text);
  return sha.Digest();
}

std::string EncodeCandidate(const PlanCandidate& candidate) {
  const auto run = std::chrono::duration_cast<std::chrono::nanoseconds>(candidate.run);
  return absl::StrFormat("%s %d %s %d %.6f %.3e %s", Name(candidate.plan), candidate.threads,
                         Name(candidate.state), static_cast<int64_t>(run.count()), candidate.ratio,
                         candidate.difference,
                         absl::CHexEscape(candidate.reason.substr(0, kReasonBytesMax)));
}

std::optional<PlanCandidate> DecodeCandidate(absl::string_view line) {
  const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(' ', 6));
  if (fields.size() != 7) return std::nullopt;
  const auto plan = PlanByName(fields[0]);
  const auto state = PlanStateByName(fields[2]);
  PlanCandidate candidate;
  int64_t nanoseconds = 0;
  const bool numbers = absl::SimpleAtoi(fields[1], &candidate.threads) &&
                       absl::SimpleAtoi(fields[3], &nanoseconds) &&
                       absl::SimpleAtod(fields[4], &candidate.ratio) &&
                       absl::SimpleAtod(fields[5], &candidate.difference) &&
                       absl::CUnescape(fields[6], &candidate.reason);
  if (!plan || !state || !numbers) return std::nullopt;
  const bool possible = candidate.threads >= 0 && nanoseconds >= 0 && candidate.ratio >= 0 &&
                        candidate.difference >= 0 && std::isfinite(candidate.ratio) &&
                        candidate.reason.size() <= kReasonBytesMax;
  if (!possible) return std::nullopt;
  if (*state == PlanCandidate::State::kTimed && candidate.ratio == 0) return std::nullopt;
  candidate.plan = *plan;
  candidate.state = *state;
  candidate.run = std::chrono::nanoseconds(nanoseconds);
  return candidate;
}

}  // namespace torchd
