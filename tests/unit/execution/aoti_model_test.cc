#include "server/execution/aoti_model.h"

#include <cstdlib>
#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/execution/load_model.h"
#include "server/execution/package.h"
#include "server/execution/torch_runtime.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Metadata(const std::string& device, const std::string& machine,
                     const std::string& isa) {
  return R"({"AOTI_DEVICE_KEY": ")" + device + R"(", "AOTI_MACHINE": ")" + machine +
         R"(", "AOTI_CPU_ISA": ")" + isa + R"("})";
}

// The libtorch.so that packages ask for is found beside the programs, else each of these would say
// FAILED_PRECONDITION.
TEST(AotiModelTest, MissingFileIsNotFoundAndNamed) {
  PrepareLoaderThread();
  const TempFolder folder;
  const auto model = LoadModel(folder.Path("model.pt2"), {});
  EXPECT_EQ(model.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(model.status().message()), HasSubstr(folder.Path("model.pt2")));
}

// One line, and nothing stays under TMPDIR.
TEST(AotiModelTest, JunkIsInternalAndLeavesNothing) {
  PrepareLoaderThread();
  const TempFolder folder;
  const TempFolder scratch;
  setenv("TMPDIR", scratch.Path("").c_str(), 1);
  for (const char* junk : {"", "junk", "PK\x03\x04 looks like an archive"}) {
    folder.Write("model.pt2", junk);
    const auto model = LoadModel(folder.Path("model.pt2"), {});
    EXPECT_EQ(model.status().code(), absl::StatusCode::kInternal) << model.status();
    const std::string message(model.status().message());
    EXPECT_THAT(message, HasSubstr(folder.Path("model.pt2")));
    EXPECT_THAT(message, Not(HasSubstr("\n")));
    EXPECT_THAT(message, Not(HasSubstr("frame #")));
  }
  EXPECT_TRUE(std::filesystem::is_empty(scratch.Path("")));
  unsetenv("TMPDIR");
}

TEST(AotiModelTest, TmpdirThatIsNoFolderIsSaid) {
  const TempFolder folder;
  folder.Write("model.pt2", "junk");
  setenv("TMPDIR", folder.Path("nowhere").c_str(), 1);
  const auto model = LoadModel(folder.Path("model.pt2"), {});
  unsetenv("TMPDIR");
  EXPECT_EQ(model.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(model.status().message()), HasSubstr("TMPDIR"));
}

TEST(PackageTest, CodeForThisMachineIsTaken) {
  EXPECT_TRUE(CheckMachine(Metadata("cpu", "", "")).ok());
  EXPECT_TRUE(CheckMachine(Metadata("cpu", "", "INVALID_VEC_ISA")).ok());
}

TEST(PackageTest, CodeForOthersIsRefusedByName) {
  EXPECT_THAT(std::string(CheckMachine(Metadata("cuda", "", "")).message()), HasSubstr("'cuda'"));
  EXPECT_THAT(std::string(CheckMachine(Metadata("cpu", "pdp11", "")).message()),
              HasSubstr("pdp11"));
  EXPECT_EQ(CheckMachine("").code(), absl::StatusCode::kInvalidArgument);
}

TEST(PackageTest, CodeForAnotherLibTorchIsRefusedByName) {
  const auto check = [](const std::string& version) {
    return CheckMachine(R"({"TORCH_VERSION": ")" + version + R"(", "AOTI_DEVICE_KEY": "cpu"})");
  };
  const std::string here = LibTorchVersion();
  EXPECT_TRUE(check(here).ok());
  EXPECT_TRUE(check(here.substr(0, here.rfind('.')) + ".99+cu999").ok());
  EXPECT_TRUE(check("").ok());
  for (const char* const other : {"1.13.1", "99.1.0+cpu", "2", "nonsense"}) {
    const absl::Status refused = check(other);
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << other;
    EXPECT_THAT(std::string(refused.message()),
                HasSubstr(std::string("compiled by torch ") + other +
                          ", this server runs LibTorch " + here + ": export it with that version"));
  }
}

}  // namespace
}  // namespace torchd
