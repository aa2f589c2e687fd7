#include "server/daemon/address_file.h"

#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

using ::testing::HasSubstr;

TEST(AddressFileTest, HoldsBothAddressesAndLeavesNothingBeside) {
  const TempFolder folder;
  folder.Write("addresses.json", "of an earlier start");
  const std::string path = folder.Path("addresses.json");
  ASSERT_TRUE(WriteAddressFile(path, {"127.0.0.1:1234", "127.0.0.1:5678"}).ok());
  EXPECT_EQ(nlohmann::json::parse(ReadFile(path)),
            nlohmann::json({{"grpc", "127.0.0.1:1234"}, {"http", "127.0.0.1:5678"}}));
  const std::filesystem::directory_iterator all(folder.path());
  EXPECT_EQ(std::distance(begin(all), end(all)), 1);
}

TEST(AddressFileTest, UnwritablePathIsNamed) {
  const TempFolder folder;
  const std::string path = folder.Path("no such folder/addresses.json");
  const absl::Status status = WriteAddressFile(path, {});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("address_file '" + path + "'"));
}

TEST(AddressFileTest, PreparingRemovesTheFileOfAnEarlierStart) {
  const TempFolder folder;
  folder.Write("addresses.json", "of an earlier start");
  EXPECT_TRUE(PrepareAddressFile(folder.Path("addresses.json")).ok());
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_TRUE(PrepareAddressFile(folder.Path("addresses.json")).ok());
}

TEST(AddressFileTest, PreparingTellsWhatCannotBeWritten) {
  const TempFolder folder;
  folder.Write("taken/file", "");
  for (const std::string& path : {folder.Path("nowhere/addresses.json"), folder.Path("taken")}) {
    const absl::Status status = PrepareAddressFile(path);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("address_file '" + path + "'"));
  }
}

// A folder in the way: the temporary file is written, but cannot take its place.
TEST(AddressFileTest, FailedRenameLeavesNothingBeside) {
  const TempFolder folder;
  folder.Write("taken/file", "");
  EXPECT_FALSE(WriteAddressFile(folder.Path("taken"), {}).ok());
  const std::filesystem::directory_iterator all(folder.path());
  EXPECT_EQ(std::distance(begin(all), end(all)), 1);
}

}  // namespace
}  // namespace torchd
