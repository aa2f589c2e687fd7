// Trials of models, and main(): this program is its own nursery.
#include "server/daemon/model_trial.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/trial/nursery.h"
#include "server/trial/tensor_codec.h"
#include "tests/unit/fakes/fake_model.h"
#include "tests/unit/fakes/message.h"
#include "tests/unit/fakes/temp_folder.h"
#include "tests/unit/fakes/zip_archive.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Code = absl::StatusCode;

// --- In the process on trial. ---

std::string Allocate(size_t bytes) {
  const std::string block(bytes, 'x');
  return block.substr(bytes / 2, 1);
}

void WriteOneByte(const std::string& path) {
  std::ofstream file(path);
  file << "x" << std::flush;
  if (!file) _exit(3);
}

std::string EncodeFloats(const std::vector<float>& values) {
  const auto classes = static_cast<int64_t>(values.size());
  return EncodeTensors(EchoSignature(classes), {FloatTensor({1, classes}, values)});
}

// Does what the model file's last word says: the zip's comment. The product's own without one.
absl::StatusOr<std::string> Behave(absl::string_view request) {
  const std::vector<std::string> fields = absl::StrSplit(request, '\0');
  const std::string file = fields.at(6).empty() ? fields.at(7) : fields.at(6);
  const std::string contents = ReadFile(file);
  if (absl::EndsWith(contents, "#spin")) {
    while (true) pause();
  }
  if (absl::EndsWith(contents, "#allocate")) Allocate(size_t{1} << 30);
  if (absl::EndsWith(contents, "#write")) WriteOneByte(file + ".scratch");
  if (absl::EndsWith(contents, "#damaged")) return "no tensors at all";
  if (absl::EndsWith(contents, "#plan"))
    return "frozen 0 timed 4000000 1.0 0 \ngraph 0 timed 2000000 0.5 1e-06 ";
  if (absl::StrContains(contents, "#")) return absl::StrCat("7000\n", EncodeFloats({1, 2, 3}));
  return TryModel(request);
}

// --- In the daemon. ---

class ModelTrialTest : public ::testing::Test {
 protected:
  ModelTrialTest() {
    auto trials = Trials::Start({});
    EXPECT_TRUE(trials.ok()) << trials.status();
    trials_ = *std::move(trials);
    folder_.repository = repository_.path();
    folder_.model_folder = repository_.Path("cat");
    folder_.folder = repository_.Path("cat/1");
  }

  absl::StatusOr<Trial> Run(const std::string& comment, const std::string& file = "model.pt") {
    repository_.Write("cat/1/" + file, Join(MakeZip(9, comment)));
    return RunFile(file);
  }
  absl::StatusOr<Trial> RunFile(const std::string& file) {
    const std::string path = repository_.Path("cat/1/" + file);
    folder_.model_file = absl::EndsWith(file, ".pt") ? path : "";
    folder_.package_file = absl::EndsWith(file, ".pt2") ? path : "";
    return RunModelTrial(*trials_, folder_, limits_);
  }
  std::string Path(const std::string& name) const { return repository_.Path(name); }

  const TempFolder repository_;
  VersionFolder folder_;
  ModelTrialLimits limits_;
  std::unique_ptr<Trials> trials_;
};

TEST_F(ModelTrialTest, TensorsAndMemoryComeBack) {
  for (const char* const file : {"model.pt", "model.pt2"}) {
    const auto trial = Run("#answer", file);
    ASSERT_TRUE(trial.ok()) << trial.status();
    ASSERT_EQ(trial->outputs.size(), 1u);
    EXPECT_EQ(trial->outputs[0].shape, Shape({1, 3}));
    EXPECT_THAT(Floats(trial->outputs[0].View()), ElementsAre(1, 2, 3));
    EXPECT_EQ(trial->run, std::chrono::microseconds(7));
  }
  const auto large = Run("#allocate");
  ASSERT_TRUE(large.ok()) << large.status();
  EXPECT_GT(large->memory_peak_bytes, int64_t{1} << 29);  // Given back in the end.
}

TEST_F(ModelTrialTest, APlanComesBackWithItsTimes) {
  ASSERT_EQ(Run("#plan").status().code(), Code::kInternal);  // No answer of a version's trial.
  const auto tried =
      RunPlanTrial(*trials_, folder_, {Plan::kGraph}, 2, limits_, std::chrono::seconds(10));
  ASSERT_TRUE(tried.ok()) << tried.status();
  ASSERT_EQ(tried->size(), 2u);
  const PlanCandidate& graph = tried->back();
  EXPECT_EQ(graph.plan, Plan::kGraph);
  EXPECT_EQ(graph.state, PlanCandidate::State::kTimed);
  EXPECT_EQ(graph.run, std::chrono::milliseconds(2));
  EXPECT_EQ(graph.ratio, 0.5);
  const auto other =
      RunPlanTrial(*trials_, folder_, {Plan::kOneDnn}, 2, limits_, std::chrono::seconds(10));
  EXPECT_EQ(Message(other.status()), "the answer of the plans' trial is damaged");
}

TEST_F(ModelTrialTest, FileThatIsNotAllThereIsNotTried) {
  repository_.Write("cat/1/model.pt", "PK#answer");
  const absl::Status status = RunFile("model.pt").status();
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_THAT(Message(status), AllOf(HasSubstr(Path("cat/1/model.pt")), HasSubstr("no whole")));
}

TEST_F(ModelTrialTest, DamagedAnswerIsSaid) {
  const absl::Status status = Run("#damaged").status();
  EXPECT_EQ(status.code(), Code::kInternal);
  EXPECT_THAT(Message(status), HasSubstr("the trial's answer is damaged: "));
}

TEST_F(ModelTrialTest, TimeHasALimit) {
  limits_.seconds_max = 1;
  const absl::Status status = Run("#spin").status();
  EXPECT_EQ(status.code(), Code::kDeadlineExceeded);
  EXPECT_EQ(Message(status), "the trial took longer than 1000 ms");
}

TEST_F(ModelTrialTest, MemoryHasALimit) {
  limits_.memory_mb_max = 512;
  EXPECT_THAT(Message(Run("#allocate").status()), HasSubstr("memory limit is 536870912 bytes"));
  limits_.memory_mb_max = 4096;
  EXPECT_TRUE(Run("#allocate").ok());
}

// A package is unpacked; TorchScript has no business to write.
TEST_F(ModelTrialTest, OnlyAPackageMayWriteFiles) {
  EXPECT_THAT(Message(Run("#write", "model.pt").status()), HasSubstr("write files of 0 bytes"));
  EXPECT_EQ(ReadFile(Path("cat/1/model.pt.scratch")), "");
  EXPECT_TRUE(Run("#write", "model.pt2").ok());
  EXPECT_EQ(ReadFile(Path("cat/1/model.pt2.scratch")), "x");
}

// The product's own trial finds each of the folders and files that it was asked about.
TEST_F(ModelTrialTest, ArchiveWithoutAModelIsNamedInOneLine) {
  for (const char* const file : {"model.pt", "model.pt2"}) {
    const absl::Status status = Run("", file).status();
    EXPECT_EQ(status.code(), Code::kInternal) << status;
    EXPECT_THAT(Message(status), AllOf(HasSubstr(Path("cat/1/" + std::string(file))),
                                       Not(HasSubstr("\n")), Not(HasSubstr("frame #"))));
  }
}

TEST_F(ModelTrialTest, MistakesOfTheConfigurationAreNamed) {
  repository_.Write("cat/model.yaml", "inptus: []\n");
  absl::Status status = Run("").status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument) << status;
  EXPECT_THAT(Message(status), AllOf(HasSubstr(Path("cat/model.yaml")), HasSubstr("inptus")));
  repository_.Write("cat/1/model.yaml", "tpos: 1\n");  // The version's own comes first.
  status = Run("").status();
  EXPECT_THAT(Message(status), AllOf(HasSubstr(Path("cat/1/model.yaml")), HasSubstr("tpos")));
}

TEST_F(ModelTrialTest, LinksMayLeaveTheModelButNotTheRepository) {
  const TempFolder outside;
  outside.Write("labels.txt", "one\n");
  std::filesystem::create_directories(Path("cat"));
  std::filesystem::create_symlink(outside.Path("labels.txt"), Path("cat/labels.txt"));
  EXPECT_THAT(Message(Run("").status()), HasSubstr("leads out of the repository"));
  repository_.Write("shared/labels.txt", "one\n");
  std::filesystem::remove(Path("cat/labels.txt"));
  std::filesystem::create_symlink(Path("shared/labels.txt"), Path("cat/labels.txt"));
  EXPECT_THAT(Message(Run("").status()), HasSubstr(Path("cat/1/model.pt")));  // Got that far.
}

TEST(TryModelTest, RequestsOfAnotherShapeAreRefused) {
  const std::string zero(1, '\0');
  for (const std::string& request :
       {std::string(), std::string("/a"), absl::StrCat("/a", zero, "/b", zero, "/c", zero, "/d"),
        absl::StrCat("/a", zero, "/b", zero, "/c", zero, "/d", zero, "/e", zero, "/f")}) {
    const absl::Status status = TryModel(request).status();
    EXPECT_EQ(status.code(), Code::kInternal);
    EXPECT_EQ(Message(status), "a trial's request is not as expected");
  }
}

}  // namespace
}  // namespace torchd

int main(int argc, char** argv) {
  if (const auto socket = torchd::StartedAsNursery(argc, argv)) {
    _exit(torchd::ServeTrials(*socket, torchd::Behave));
  }
  ::testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
