#include "server/registry/root_folder.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/message.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A root and, beside it, a folder that nothing in the root may reach.
class RootFolderTest : public ::testing::TestWithParam<RootFolder::Opening> {
 protected:
  RootFolderTest() {
    folder_.Write("root/cat/labels.txt", "tabby\n");
    folder_.Write("outside/secret.txt", "secret\n");
  }

  RootFolder Root() {
    auto root = RootFolder::Open(path_, GetParam());
    EXPECT_TRUE(root.ok()) << root.status();
    return *std::move(root);
  }
  void Link(const std::string& name, const std::string& target) {
    fs::create_symlink(target, path_ + "/" + name);
  }

  const TempFolder folder_;
  const std::string path_ = folder_.Path("root");
};

INSTANTIATE_TEST_SUITE_P(Openings, RootFolderTest,
                         ::testing::Values(RootFolder::Opening::kBestKnown,
                                           RootFolder::Opening::kPortable),
                         [](const auto& test) {
                           return test.param == RootFolder::Opening::kPortable ? "Portable"
                                                                               : "BestKnown";
                         });

TEST_P(RootFolderTest, FilesAndFoldersAreSeenAndRead) {
  const RootFolder root = Root();
  EXPECT_EQ(root.path(), path_);
  EXPECT_TRUE(root.Look(path_)->is_folder());
  EXPECT_TRUE(root.Look(path_ + "/cat")->is_folder());
  const auto file = root.Look(path_ + "/cat/labels.txt");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->is_file());
  EXPECT_EQ(file->stat.st_size, 6);
  EXPECT_EQ(file->real_path, path_ + "/cat/labels.txt");
  EXPECT_EQ(*root.Read(path_ + "/cat/labels.txt", 6), "tabby\n");
}

TEST_P(RootFolderTest, NamesAreSortedAndHiddenOnesLeftOut) {
  for (const char* name : {"b", "a", ".git", "B"}) folder_.Write(absl::StrCat("root/", name), "");
  EXPECT_THAT(*Root().List(path_), ElementsAre("B", "a", "b", "cat"));
}

TEST_P(RootFolderTest, LinksInsideAreFollowed) {
  const std::vector<std::string> targets = {
      "cat/labels.txt",          "./cat/../cat/labels.txt", "../root/cat/labels.txt",
      path_ + "/cat/labels.txt", "..data/labels.txt",       "chain",
  };
  Link("..data", "cat");  // As Kubernetes mounts a ConfigMap.
  Link("chain", "..data/labels.txt");
  for (size_t i = 0; i < targets.size(); ++i) {
    const std::string name = absl::StrCat("link", i);
    Link(name, targets[i]);
    const auto entry = Root().Look(path_ + "/" + name);
    ASSERT_TRUE(entry.ok()) << targets[i] << ": " << entry.status();
    EXPECT_EQ(entry->real_path, path_ + "/cat/labels.txt") << targets[i];
    EXPECT_EQ(*Root().Read(path_ + "/" + name, 100), "tabby\n") << targets[i];
  }
}

TEST_P(RootFolderTest, LinksThatAreNotFollowed) {
  Link("circle", "circle");
  Link("left", "right");
  Link("right", "left");
  Link("beside", "../root2");
  fs::create_directory(folder_.Path("root2"));  // Starts like the root, and is another.
  const struct {
    const char* name;
    std::string target;
    const char* reason;
  } cases[] = {
      {"up", "..", "leads out of the repository"},
      {"relative", "../outside/secret.txt", "leads out of the repository"},
      {"absolute", folder_.Path("outside/secret.txt"), "leads out of the repository"},
      {"folder", "../outside", "leads out of the repository"},
      {"slash", "/", "leads out of the repository"},
      {"device", "/dev/zero", "leads out of the repository"},
      {"twice", "relative", "leads out of the repository"},
      {"again", "beside", "leads out of the repository"},
      {"dangling", "nowhere", "leads nowhere"},
      {"dangling2", "../nowhere/at/all", "leads nowhere"},
      {"dangling3", "/nowhere", "leads nowhere"},
      {"through", "cat/labels.txt/more", "leads nowhere"},
      {"round", "circle", "leads in circles"},
      {"pair", "left", "leads in circles"},
  };
  for (const auto& test : cases) {
    Link(test.name, test.target);
    const std::string path = path_ + "/" + test.name;
    for (const absl::Status& status : {Root().Look(path).status(), Root().Read(path, 100).status(),
                                       Root().List(path).status()}) {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << test.name;
      EXPECT_THAT(Message(status), AllOf(HasSubstr("the link " + path), HasSubstr(test.reason)));
    }
  }
}

TEST_P(RootFolderTest, NothingIsReachedThroughAFolderThatIsALinkOutside) {
  Link("dog", "../outside");
  for (const char* name : {"dog/secret.txt", "cat/../../outside/secret.txt"}) {
    const auto read = Root().Read(path_ + "/" + name, 100);
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST_P(RootFolderTest, PathsThatAreNotBelowTheRootAreRefused) {
  for (const std::string& path :
       {folder_.path(), folder_.Path("outside/secret.txt"), path_ + "2", std::string("cat")}) {
    const auto entry = Root().Look(path);
    EXPECT_EQ(entry.status().code(), absl::StatusCode::kInvalidArgument) << path;
    EXPECT_THAT(Message(entry.status()), HasSubstr(path_));
  }
}

// The descriptor stands for the folder that was opened, whatever its path means later.
TEST_P(RootFolderTest, ALinkPutInPlaceOfAFolderMeanwhileLeadsNowhereElse) {
  const RootFolder root = Root();
  fs::rename(path_ + "/cat", path_ + "/old");
  Link("cat", "../outside");
  EXPECT_EQ(root.Read(path_ + "/cat/secret.txt", 100).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(RootFolderTest, WhatIsNoFileIsNeverOpened) {
  ASSERT_EQ(::mkfifo((path_ + "/fifo").c_str(), 0600), 0);
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string path = path_ + "/socket";
  ASSERT_LT(path.size(), sizeof(address.sun_path));
  path.copy(address.sun_path, path.size());
  ASSERT_EQ(::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ::close(socket);
  Link("fifo_link", "fifo");
  const struct {
    const char* name;
    const char* kind;
  } cases[] = {
      {"fifo", "a FIFO"}, {"fifo_link", "a FIFO"}, {"socket", "a socket"}, {"cat", "a folder"}};
  for (const auto& test : cases) {  // A FIFO without a writer would block an ordinary open().
    const auto read = Root().Read(path_ + "/" + test.name, 100);
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << test.name;
    EXPECT_THAT(Message(read.status()), HasSubstr(test.kind));
  }
  const RootFolder devices = *RootFolder::Open("/dev", GetParam());
  EXPECT_THAT(Message(devices.Read("/dev/zero", 100).status()), HasSubstr("a device"));
}

TEST_P(RootFolderTest, MissingIsNotFound) {
  for (const char* name : {"dog", "cat/vocab.txt", "dog/1/model.pt", "cat/labels.txt/x"}) {
    const auto entry = Root().Look(path_ + "/" + name);
    EXPECT_EQ(entry.status().code(), absl::StatusCode::kNotFound) << name;
    EXPECT_THAT(Message(entry.status()), HasSubstr(path_ + "/" + name));
  }
}

TEST_P(RootFolderTest, FilesBeyondTheLimitAreRefused) {
  const auto read = Root().Read(path_ + "/cat/labels.txt", 5);
  EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(read.status()), HasSubstr("6 bytes; at most 5"));
}

TEST_P(RootFolderTest, TheRootMayBeALinkAndEndInASlash) {
  fs::create_directory_symlink(path_, folder_.Path("current"));
  const auto root = RootFolder::Open(folder_.Path("current/"), GetParam());
  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_EQ(root->path(), folder_.Path("current"));
  EXPECT_EQ(root->real_path(), path_);
  EXPECT_EQ(root->Look(folder_.Path("current/cat/labels.txt"))->real_path,
            path_ + "/cat/labels.txt");
}

TEST_P(RootFolderTest, TheRootMayBeTheRootOfAll) {
  const auto root = RootFolder::Open("/", GetParam());
  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_EQ(*root->Read(path_ + "/cat/labels.txt", 100), "tabby\n");
}

TEST_P(RootFolderTest, OnlyFoldersAreRoots) {
  for (const std::string& path : {std::string(), folder_.Path("nowhere"),
                                  folder_.Path("outside/secret.txt"), folder_.Path("circle")}) {
    const auto root = RootFolder::Open(path, GetParam());
    EXPECT_EQ(root.status().code(), absl::StatusCode::kNotFound) << path;
    EXPECT_THAT(Message(root.status()), HasSubstr("model_repository '" + path + "' is no folder"));
  }
}

TEST(FileDescriptorTest, MovingLeavesOneOwner) {
  FileDescriptor first(::dup(0));
  ASSERT_TRUE(first.ok());
  const int number = first.get();
  FileDescriptor second(std::move(first));
  EXPECT_FALSE(first.ok());  // NOLINT(bugprone-use-after-move): what is tested.
  EXPECT_EQ(second.get(), number);
  first = std::move(second);
  EXPECT_EQ(first.get(), number);
}

}  // namespace
}  // namespace torchd
