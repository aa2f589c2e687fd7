#include "server/execution/torch_model.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/execution/torch_runtime.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

TEST(TorchModelTest, MissingFileIsNotFoundAndNamed) {
  PrepareLoaderThread();
  const TempFolder folder;
  const auto model = TorchModel::Load(folder.Path("model.pt"), {});
  EXPECT_EQ(model.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(model.status().message()), HasSubstr(folder.Path("model.pt")));
}

// One line, without LibTorch's traceback: clients and logs see it.
TEST(TorchModelTest, JunkIsInternalAndNamed) {
  PrepareLoaderThread();
  const TempFolder folder;
  for (const char* junk : {"", "junk", "PK\x03\x04 looks like an archive"}) {
    folder.Write("model.pt", junk);
    const auto model = TorchModel::Load(folder.Path("model.pt"), {});
    EXPECT_EQ(model.status().code(), absl::StatusCode::kInternal) << junk;
    const std::string message(model.status().message());
    EXPECT_THAT(message, HasSubstr(folder.Path("model.pt")));
    EXPECT_THAT(message, Not(HasSubstr("\n")));
    EXPECT_THAT(message, Not(HasSubstr("frame #")));
  }
}

TEST(TorchRuntimeTest, VersionIsOne) {
  EXPECT_THAT(LibTorchVersion(), MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+.*"));
}

}  // namespace
}  // namespace torchd
