#include "client/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/status/status.h"
#include "client/help.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

Arguments Parsed(const std::vector<std::string>& words, const std::string& variable = "") {
  absl::StatusOr<Arguments> arguments = ParseArguments(words, variable);
  EXPECT_TRUE(arguments.ok()) << arguments.status();
  return arguments.ok() ? *arguments : Arguments();
}

std::string Refusal(const std::vector<std::string>& words, const std::string& variable = "") {
  const absl::Status status = ParseArguments(words, variable).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(ArgumentsTest, ClassifyHasDefaults) {
  const Arguments arguments = Parsed({"classify", "cat.jpg"});
  EXPECT_EQ(arguments.command, Command::kClassify);
  EXPECT_EQ(arguments.address, "127.0.0.1:8001");
  EXPECT_EQ(arguments.timeout, milliseconds(60'000));
  EXPECT_EQ(arguments.model, "");
  EXPECT_EQ(arguments.model_version, 0);
  EXPECT_FALSE(arguments.top_k.has_value());
  EXPECT_FALSE(arguments.softmax.has_value());
  EXPECT_FALSE(arguments.json);
  EXPECT_FALSE(arguments.text);
  EXPECT_THAT(arguments.inputs, ElementsAre("cat.jpg"));
}

TEST(ArgumentsTest, ClassifyTakesFlagsAnywhereAfterItAndInBothSpellings) {
  const Arguments arguments =
      Parsed({"--timeout=0.25", "classify", "--model", "lite0", "a.jpg", "--version=3", "--top-k",
              "7", "--no-softmax", "b.png", "--json", "-", "--address", "[::1]:9"});
  EXPECT_EQ(arguments.timeout, milliseconds(250));
  EXPECT_EQ(arguments.model, "lite0");
  EXPECT_EQ(arguments.model_version, 3);
  EXPECT_EQ(arguments.top_k, 7);
  EXPECT_EQ(arguments.softmax, false);
  EXPECT_TRUE(arguments.json);
  EXPECT_EQ(arguments.address, "[::1]:9");
  EXPECT_THAT(arguments.inputs, ElementsAre("a.jpg", "b.png", "-"));
}

TEST(ArgumentsTest, PriorityIsHighNormalOrLow) {
  EXPECT_EQ(Parsed({"classify", "f"}).priority, v1::PRIORITY_UNSPECIFIED);
  EXPECT_EQ(Parsed({"classify", "f", "--priority", "high"}).priority, v1::PRIORITY_HIGH);
  EXPECT_EQ(Parsed({"classify", "--priority=normal", "f"}).priority, v1::PRIORITY_NORMAL);
  EXPECT_EQ(Parsed({"classify", "--priority=low", "f"}).priority, v1::PRIORITY_LOW);
}

TEST(ArgumentsTest, ClassifySaysWhatBecomesOfScores) {
  EXPECT_EQ(Parsed({"classify", "f"}).activation, v1::ACTIVATION_UNSPECIFIED);
  EXPECT_EQ(Parsed({"classify", "f", "--activation", "none"}).activation, v1::ACTIVATION_NONE);
  EXPECT_EQ(Parsed({"classify", "f", "--activation=softmax"}).activation, v1::ACTIVATION_SOFTMAX);
  EXPECT_EQ(Parsed({"classify", "f", "--activation=sigmoid"}).activation, v1::ACTIVATION_SIGMOID);
  EXPECT_FALSE(Parsed({"classify", "f"}).threshold.has_value());
  EXPECT_EQ(Parsed({"classify", "f", "--threshold", "-0.5"}).threshold, -0.5F);
  EXPECT_THAT(Refusal({"classify", "f", "--activation", "relu"}),
              HasSubstr("--activation is 'relu'; expected none, softmax or sigmoid"));
  for (const char* threshold : {"", "x", "nan", "inf"}) {
    EXPECT_THAT(Refusal({"classify", "f", "--threshold", threshold}), HasSubstr("--threshold is"));
  }
  EXPECT_THAT(Refusal({"classify", "f", "--no-softmax", "--activation=none"}),
              HasSubstr("got both --no-softmax and --activation"));
}

TEST(ArgumentsTest, APairIsOfTexts) {
  EXPECT_FALSE(Parsed({"classify", "--text", "a"}).pair.has_value());
  EXPECT_EQ(Parsed({"classify", "--text", "a", "--pair", "b"}).pair, "b");
  EXPECT_THAT(Refusal({"classify", "f", "--pair", "b"}), HasSubstr("expected --text"));
}

TEST(ArgumentsTest, ClassifySaysHowManyCallsAtOnceAndWhetherAgain) {
  EXPECT_EQ(Parsed({"classify", "f"}).jobs, 4);
  EXPECT_EQ(Parsed({"classify", "f", "--jobs", "64"}).jobs, 64);
  EXPECT_TRUE(Parsed({"classify", "f"}).retry);
  EXPECT_FALSE(Parsed({"--no-retry", "classify", "f"}).retry);
  EXPECT_TRUE(Parsed({"classify", "f", "--csv"}).csv);
}

TEST(ArgumentsTest, ExplainInputTakesOneNameAndAVersion) {
  const Arguments arguments = Parsed({"explain-input", "lite0", "--version", "3", "--json"});
  EXPECT_EQ(arguments.command, Command::kExplainInput);
  EXPECT_EQ(arguments.model, "lite0");
  EXPECT_EQ(arguments.model_version, 3);
  EXPECT_TRUE(arguments.json);
  EXPECT_EQ(Parsed({"explain-input"}).model, "");
}

TEST(ArgumentsTest, CompletionTakesAShell) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const Arguments arguments = Parsed({"completion", shell});
    EXPECT_EQ(arguments.command, Command::kCompletion);
    EXPECT_EQ(arguments.shell, shell);
  }
}

TEST(ArgumentsTest, TwoDashesEndTheFlags) {
  const Arguments arguments = Parsed({"classify", "--text", "--", "--json", "-5 degrees"});
  EXPECT_TRUE(arguments.text);
  EXPECT_FALSE(arguments.json);
  EXPECT_THAT(arguments.inputs, ElementsAre("--json", "-5 degrees"));
}

TEST(ArgumentsTest, ModelsTakesOneName) {
  EXPECT_EQ(Parsed({"models"}).command, Command::kModels);
  EXPECT_EQ(Parsed({"models", "lite0", "--json"}).model, "lite0");
  EXPECT_THAT(Refusal({"models", "a", "b"}), HasSubstr("unexpected argument 'b' of models"));
}

TEST(ArgumentsTest, OnlyModelsIsVerbose) {
  EXPECT_FALSE(Parsed({"models"}).verbose);
  EXPECT_TRUE(Parsed({"models", "lite0", "--verbose"}).verbose);
  EXPECT_THAT(Refusal({"load", "lite0", "--verbose"}), HasSubstr("unknown flag --verbose of load"));
}

TEST(ArgumentsTest, ChangesTakeOneName) {
  const std::pair<const char*, Command> cases[] = {
      {"load", Command::kLoad}, {"unload", Command::kUnload}, {"reload", Command::kReload}};
  for (const auto& test : cases) {
    const Arguments arguments = Parsed({test.first, "lite0", "--json", "--timeout", "300"});
    EXPECT_EQ(arguments.command, test.second);
    EXPECT_EQ(arguments.model, "lite0");
    EXPECT_TRUE(arguments.json);
    EXPECT_EQ(arguments.timeout, milliseconds(300'000));
  }
}

TEST(ArgumentsTest, VersionLabelIsOfClassify) {
  EXPECT_EQ(Parsed({"classify", "f", "--version-label", "stable"}).version_label, "stable");
  EXPECT_EQ(Parsed({"classify", "f"}).version_label, "");
}

TEST(ArgumentsTest, StatusTakesNoArgument) {
  EXPECT_EQ(Parsed({"status", "--json"}).command, Command::kStatus);
  EXPECT_THAT(Refusal({"status", "x"}), HasSubstr("unexpected argument 'x' of status"));
}

TEST(ArgumentsTest, AddressComesFromTheFlagThenTheVariable) {
  EXPECT_EQ(Parsed({"status"}, "host:81").address, "host:81");
  EXPECT_EQ(Parsed({"--address", "other:82", "status"}, "host:81").address, "other:82");
  EXPECT_EQ(Parsed({"--address", "other:82", "status"}, "nonsense").address, "other:82");
  EXPECT_THAT(Refusal({"status"}, "nonsense"), HasSubstr("TORCHCTL_ADDRESS is 'nonsense'"));
}

TEST(ArgumentsTest, VersionIsTorchctlsBeforeTheCommandAndTheModelsAfterClassify) {
  EXPECT_TRUE(Parsed({"--version"}).show_version);
  EXPECT_FALSE(Parsed({"classify", "--version", "2", "x"}).show_version);
  EXPECT_THAT(Refusal({"models", "--version"}), HasSubstr("unknown flag --version of models"));
}

TEST(ArgumentsTest, HelpNeedsNothingElseAndKnowsItsCommand) {
  EXPECT_TRUE(Parsed({"-h"}).help);
  EXPECT_EQ(Parsed({"--help"}, "nonsense").command, Command::kNone);
  const Arguments arguments = Parsed({"classify", "--help"});
  EXPECT_TRUE(arguments.help);
  EXPECT_EQ(arguments.command, Command::kClassify);
}

TEST(ArgumentsTest, EveryHelpTextNamesItsFlagsAndFitsTheScreen) {
  EXPECT_THAT(HelpText(Command::kNone), HasSubstr("--address HOST:PORT"));
  EXPECT_THAT(HelpText(Command::kModels),
              HasSubstr("torchctl models [NAME] [--verbose] [--json] [--names]"));
  EXPECT_THAT(HelpText(Command::kStatus), HasSubstr("torchctl status [--json]"));
  for (const char* word : {"load NAME", "unload NAME", "reload NAME"}) {
    EXPECT_THAT(HelpText(Command::kNone), HasSubstr(word));
  }
  for (const Command command : {Command::kLoad, Command::kUnload, Command::kReload}) {
    EXPECT_THAT(HelpText(command), HasSubstr("torchctl load NAME, torchctl unload NAME"));
  }
  for (const char* flag :
       {"--model", "--version", "--version-label", "--top-k", "--softmax", "--no-softmax",
        "--activation", "--threshold", "--priority", "--text", "--pair", "--json", "--csv",
        "--jobs", "--no-retry", "--address", "--timeout"}) {
    EXPECT_THAT(HelpText(Command::kClassify), HasSubstr(flag));
  }
  EXPECT_THAT(VersionText(), testing::MatchesRegex("torchctl [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

struct WrongCase {
  std::vector<std::string> words;
  const char* says;
};

class WrongUsageTest : public testing::TestWithParam<WrongCase> {};

TEST_P(WrongUsageTest, IsRefusedWithItsNameOnOneLine) {
  const std::string message = Refusal(GetParam().words);
  EXPECT_THAT(message, HasSubstr(GetParam().says));
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    All, WrongUsageTest,
    testing::Values(
        WrongCase{
            {},
            "no command; expected classify, bench, models, explain-input, plan, status, load, "
            "unload, reload or completion"},
        WrongCase{{"clasify"}, "unknown command 'clasify'"},
        WrongCase{{"load"}, "load needs the name of a model"},
        WrongCase{{"unload", ""}, "unexpected argument '' of unload"},
        WrongCase{{"reload", "a", "b"}, "unexpected argument 'b' of reload"},
        WrongCase{{"load", "a", "--model", "b"}, "unknown flag --model of load"},
        WrongCase{{"load", "a", "--version", "2"}, "unknown flag --version of load"},
        WrongCase{{"models", "--version-label", "x"}, "unknown flag --version-label of models"},
        WrongCase{{"classify", "f", "--version-label="}, "--version-label is ''"},
        WrongCase{{"--loud", "status"}, "unknown flag --loud"},
        WrongCase{{"--json", "status"}, "--json belongs after the command"},
        WrongCase{{"status", "--top-k", "1"}, "unknown flag --top-k of status"},
        WrongCase{{"classify", "--modle=x", "f"}, "unknown flag --modle of classify"},
        WrongCase{{"classify"}, "classify needs at least one file"},
        WrongCase{{"classify", "--text"}, "classify needs at least one text"},
        WrongCase{{"classify", "-", "-"}, "'-' was given twice"},
        WrongCase{{"classify", "f", "--model"}, "--model needs a value"},
        WrongCase{{"classify", "f", "--model="}, "--model is ''; expected the name of a model"},
        WrongCase{{"classify", "f", "--json=1"}, "--json is '1'; expected no value"},
        WrongCase{{"classify", "f", "--top-k", "0"},
                  "--top-k is '0'; expected a whole number of 1"},
        WrongCase{{"classify", "f", "--top-k", "1001"}, "--top-k is '1001'"},
        WrongCase{{"classify", "f", "--top-k", "two"}, "--top-k is 'two'"},
        WrongCase{{"classify", "f", "--version", "0"}, "--version is '0'"},
        WrongCase{{"classify", "f", "--jobs", "0"},
                  "--jobs is '0'; expected a whole number of 1 to 64"},
        WrongCase{{"classify", "f", "--jobs=65"}, "--jobs is '65'"},
        WrongCase{{"classify", "f", "--json", "--csv"}, "got both --json and --csv"},
        WrongCase{{"models", "--names", "--json"}, "--names prints names alone"},
        WrongCase{{"explain-input", "a", "b"}, "unexpected argument 'b' of explain-input"},
        WrongCase{{"completion"}, "completion needs a shell: bash, zsh or fish"},
        WrongCase{{"completion", "csh"}, "the shell of completion is 'csh'"},
        WrongCase{{"completion", "bash", "zsh"}, "unexpected argument 'zsh' of completion"},
        WrongCase{{"completion", "--json", "bash"}, "unknown flag --json of completion"},
        WrongCase{{"classify", "f", "--priority", "HIGH"},
                  "--priority is 'HIGH'; expected high, normal or low"},
        WrongCase{{"models", "--priority", "low"}, "unknown flag --priority of models"},
        WrongCase{{"status", "--timeout", "0"}, "--timeout is '0'; expected seconds"},
        WrongCase{{"status", "--timeout", "nan"}, "--timeout is 'nan'"},
        WrongCase{{"status", "--timeout", "86401"}, "--timeout is '86401'"},
        WrongCase{{"status", "--address", "host"}, "--address is 'host'; expected HOST:PORT"},
        WrongCase{{"status", "--address", ":8001"}, "--address is ':8001'"},
        WrongCase{{"status", "--address", "::1:8001"}, "--address is '::1:8001'"},
        WrongCase{{"status", "--address", "h:0"}, "--address is 'h:0'"},
        WrongCase{{"status", "--address", "h:65536"}, "--address is 'h:65536'"}));

TEST(CallSizeTest, HoldsSixteenItems) {
  EXPECT_TRUE((CallSize{.items = 15, .bytes = 0}).HasRoomFor(1));
  EXPECT_FALSE((CallSize{.items = 16, .bytes = 0}).HasRoomFor(1));
}

TEST(CallSizeTest, HoldsThirtyTwoMebibytes) {
  EXPECT_TRUE((CallSize{.items = 1, .bytes = 33'554'431}).HasRoomFor(1));
  EXPECT_FALSE((CallSize{.items = 1, .bytes = 33'554'431}).HasRoomFor(2));
}

}  // namespace
}  // namespace torchd
