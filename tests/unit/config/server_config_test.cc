#include "server/config/server_config.h"

#include <unistd.h>

#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Action = CommandLine::Action;
using Strings = std::vector<std::string>;

// Written out by hand: a test that read them from the table could not notice a lost line.
const Strings& Keys() {
  static const Strings keys = {"model_repository",  "grpc_address",
                               "http_address",      "address_file",
                               "log_level",         "log_format",
                               "cpu_executors",     "threads_per_executor",
                               "rows_waiting_max",  "preprocess_threads",
                               "model_control",     "model_name",
                               "state_file",        "settle_ms",
                               "poll_ms",           "load_threads",
                               "trial_seconds_max", "trial_memory_mb_max",
                               "plan_seconds_max",  "plan_cache",
                               "memory_mb_max",     "stuck_seconds",
                               "message_bytes_max", "image_megapixels_max",
                               "warmup_runs",       "benchmarks_max",
                               "drain_delay_ms",    "drain_limit_ms",
                               "plan_default",      "image_decoded_mb_max",
                               "image_ms_max"};
  return keys;
}

std::string FlagOf(std::string key) {
  for (char& c : key) c = c == '_' ? '-' : c;
  return "--" + key;
}

std::string VariableOf(std::string key) {
  for (char& c : key) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return "TORCHD_" + key;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.is_open()) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class ServerConfigTest : public ::testing::Test {
 protected:
  ServerConfigTest() {
    std::string pattern = ::testing::TempDir() + "/server_config_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~ServerConfigTest() override { std::filesystem::remove_all(folder_); }

  std::string FileWith(const std::string& text) const {
    std::string path = folder_ + "/torchd.yaml";
    std::ofstream(path) << text;
    return path;
  }

  // The settings that --check-config would find good.
  static ServerConfig Good(Strings arguments, const Strings& environment = {}) {
    arguments.emplace_back("--check-config");
    const auto parsed = ParseCommandLine(arguments, environment);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return parsed.ok() ? parsed->config : ServerConfig{};
  }

  static std::string Error(const Strings& arguments, const Strings& environment = {}) {
    const auto parsed = ParseCommandLine(arguments, environment);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(parsed.status().message());
  }

  std::string FileError(const std::string& text) const {
    return Error({"--config", FileWith(text)});
  }

  std::string folder_;
};

TEST_F(ServerConfigTest, DefaultsAreThoseOfTheHeader) {
  EXPECT_EQ(PrintConfig(Good({})), PrintConfig(ServerConfig{}));
}

TEST_F(ServerConfigTest, FlagTakesItsValueAfterEqualsOrNext) {
  EXPECT_EQ(Good({"--grpc-address=0.0.0.0:9001"}).grpc_address, "0.0.0.0:9001");
  EXPECT_EQ(Good({"--grpc-address", "localhost:9001"}).grpc_address, "localhost:9001");
  EXPECT_EQ(Good({"--model-repository=a=b"}).model_repository, "a=b");
  EXPECT_EQ(Good({"--load-threads=3", "--load-threads=4"}).load_threads, 4);
}

TEST_F(ServerConfigTest, EverySettingIsFlagVariableAndKey) {
  for (const std::string& key : Keys()) {
    std::string value = "7";
    if (key == "message_bytes_max") value = "2048";
    if (key == "grpc_address" || key == "http_address") value = "[::1]:7";
    if (key == "log_level") value = "error";
    if (key == "log_format") value = "json";
    if (key == "model_control") value = "watch";
    if (key == "plan_default") value = "fast_start";
    if (key == "poll_ms" || key == "trial_memory_mb_max") value = "700";
    const std::string by_flag = PrintConfig(Good({FlagOf(key), value}));
    EXPECT_NE(by_flag, PrintConfig(ServerConfig{})) << key;
    EXPECT_EQ(PrintConfig(Good({}, {VariableOf(key) + "=" + value})), by_flag) << key;
    const std::string file = FileWith(key + ": \"" + value + "\"\n");
    EXPECT_EQ(PrintConfig(Good({"--config", file})), by_flag) << key;
  }
}

TEST_F(ServerConfigTest, FlagBeatsVariableBeatsFileBeatsDefault) {
  const std::string file = FileWith("load_threads: 3\nwarmup_runs: 3\ncpu_executors: 3\n");
  const ServerConfig config = Good({"--load-threads=5", "--config=" + file},
                                   {"TORCHD_LOAD_THREADS=4", "TORCHD_WARMUP_RUNS=4"});
  EXPECT_EQ(config.load_threads, 5);
  EXPECT_EQ(config.warmup_runs, 4);
  EXPECT_EQ(config.cpu_executors, 3);
  EXPECT_EQ(config.rows_waiting_max, 256);
}

TEST_F(ServerConfigTest, VariableNamesTheFileUnlessTheFlagDoes) {
  const std::string file = FileWith("load_threads: 3\n");
  EXPECT_EQ(Good({}, {"TORCHD_CONFIG=" + file}).load_threads, 3);
  EXPECT_EQ(Good({"--config", file}, {"TORCHD_CONFIG=/nowhere"}).load_threads, 3);
  EXPECT_EQ(Good({"--config="}, {"TORCHD_CONFIG=" + file}).load_threads, 2);
}

TEST_F(ServerConfigTest, OtherProgramsVariablesAreIgnored) {
  EXPECT_EQ(Good({}, {"PATH=/bin", "MY_TORCHD_X=1", "torchd_load_threads=9"}).load_threads, 2);
}

TEST_F(ServerConfigTest, BothEndsOfARangeAreAllowedAndNothingBeyond) {
  struct Case {
    std::string key, least, most, below, above;
  };
  const std::vector<Case> cases = {
      {"cpu_executors", "1", "64", "0", "65"},
      {"threads_per_executor", "0", "256", "-1", "257"},
      {"rows_waiting_max", "1", "1000000", "0", "1000001"},
      {"preprocess_threads", "0", "256", "-1", "257"},
      {"settle_ms", "0", "600000", "-1", "600001"},
      {"poll_ms", "100", "3600000", "99", "3600001"},
      {"load_threads", "1", "64", "0", "65"},
      {"trial_seconds_max", "0", "3600", "-1", "3601"},
      {"trial_memory_mb_max", "64", "1048576", "63", "1048577"},
      {"memory_mb_max", "0", "16777216", "-1", "16777217"},
      {"stuck_seconds", "1", "86400", "0", "86401"},
      {"message_bytes_max", "1024", "1073741823", "1023", "1073741824"},
      {"image_megapixels_max", "1", "1000", "0", "1001"},
      {"image_decoded_mb_max", "1", "65536", "0", "65537"},
      {"image_ms_max", "1", "3600000", "0", "3600001"},
      {"warmup_runs", "0", "100", "-1", "101"},
      {"benchmarks_max", "0", "16", "-1", "17"},
      {"drain_delay_ms", "0", "600000", "-1", "600001"},
      {"drain_limit_ms", "0", "600000", "-1", "600001"}};
  for (const Case& c : cases) {
    EXPECT_THAT(PrintConfig(Good({FlagOf(c.key), c.least})), HasSubstr(c.key + ": " + c.least));
    EXPECT_THAT(PrintConfig(Good({FlagOf(c.key), c.most})), HasSubstr(c.key + ": " + c.most));
    for (const std::string& bad : {c.below, c.above, std::string("99999999999"), std::string("x"),
                                   std::string("1.5"), std::string()}) {
      EXPECT_THAT(Error({FlagOf(c.key) + "=" + bad}),
                  AllOf(HasSubstr(c.key), HasSubstr("\"" + bad + "\""),
                        HasSubstr(c.least + ".." + c.most), HasSubstr("flag " + FlagOf(c.key))));
    }
  }
}

TEST_F(ServerConfigTest, AddressesAreHostAndPort) {
  for (const char* good : {"127.0.0.1:0", "localhost:65535", "[::1]:0", "my-host.example:80"}) {
    EXPECT_EQ(Good({"--http-address", good}).http_address, good);
  }
  for (const char* bad : {"", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "a:-1", "a:+1",
                          "a: 1", "::1:80", "[::1]", "[::1:80", "[]:80", "[zz]:80", "999.0.0.1:80",
                          "a b:80", "http://a:80", "a:80x", "unix:/tmp/s"}) {
    EXPECT_THAT(Error({std::string("--http-address=") + bad}),
                AllOf(HasSubstr("http_address"), HasSubstr("HOST:PORT"), HasSubstr("0..65535")));
  }
}

TEST_F(ServerConfigTest, ChoicesAreListed) {
  EXPECT_THAT(Error({"--log-level=loud"}),
              HasSubstr("log_level is \"loud\" (flag --log-level), expected one of debug, info, "
                        "warning, error"));
  EXPECT_THAT(Error({"--log-format=info"}), HasSubstr("text, json"));
  EXPECT_THAT(Error({"--log-level=debug|info"}), HasSubstr("log_level"));
  EXPECT_THAT(Error({"--model-control=poll"}), HasSubstr("fixed, watch, explicit"));
}

TEST_F(ServerConfigTest, UnknownNamesComeWithTheNearest) {
  EXPECT_THAT(Error({"--grpc_address=a:1"}),
              AllOf(HasSubstr("flag \"--grpc_address\""), HasSubstr(": --grpc-address")));
  EXPECT_THAT(Error({"--hlep"}), HasSubstr(": --help"));
  EXPECT_THAT(Error({}, {"TORCHD_LOAD_THREAD=1"}),
              AllOf(HasSubstr("\"TORCHD_LOAD_THREAD\""), HasSubstr(": TORCHD_LOAD_THREADS")));
  EXPECT_THAT(Error({}, {"TORCHD_CONFIGS=1"}), HasSubstr(": TORCHD_CONFIG"));
  EXPECT_THAT(
      FileError("load_threads: 1\nlog_levle: info\n"),
      AllOf(HasSubstr("torchd.yaml:2: "), HasSubstr("\"log_levle\""), HasSubstr(": log_level")));
}

TEST_F(ServerConfigTest, WhatIsNoFlagIsRefused) {
  EXPECT_THAT(Error({"models"}), HasSubstr("\"models\" is not a flag"));
  EXPECT_THAT(Error({"-h"}), HasSubstr("--help"));
  EXPECT_THAT(Error({"--load-threads"}), HasSubstr("--load-threads has no value"));
  EXPECT_THAT(Error({"--config"}), HasSubstr("--config has no value"));
  EXPECT_THAT(Error({"--address-file", "--help"}), HasSubstr("--address-file has no value"));
  EXPECT_THAT(Error({"--check-config=yes"}), HasSubstr("--check-config takes no value"));
}

TEST_F(ServerConfigTest, ErrorsSayWhereTheValueCameFrom) {
  EXPECT_THAT(Error({}, {"TORCHD_LOAD_THREADS=0"}), HasSubstr("variable TORCHD_LOAD_THREADS"));
  EXPECT_THAT(FileError("# one\n\nload_threads: 0\n"), HasSubstr("torchd.yaml:3)"));
}

TEST_F(ServerConfigTest, BrokenFileIsNamedWithItsLine) {
  EXPECT_THAT(Error({"--config", folder_ + "/none.yaml"}),
              AllOf(HasSubstr(folder_ + "/none.yaml"), HasSubstr("No such file")));
  EXPECT_THAT(Error({"--config", folder_}), AllOf(HasSubstr(folder_), HasSubstr("directory")));
  EXPECT_THAT(FileError("log_level: info\nlog_format: \"text\n"), HasSubstr("torchd.yaml:"));
  EXPECT_THAT(FileError("log_level: info\n]\n"), HasSubstr("torchd.yaml:2: "));
  EXPECT_THAT(FileError("just a text\n"), HasSubstr("torchd.yaml:1: expected lines"));
  EXPECT_THAT(FileError("- load_threads\n"), HasSubstr("torchd.yaml:1: found a list"));
  EXPECT_THAT(FileError("load_threads:\n"), HasSubstr("load_threads has no value"));
  EXPECT_THAT(FileError("load_threads: [1]\n"), HasSubstr("\"load_threads\" is a list"));
  EXPECT_THAT(FileError("grpc:\n  address: a:1\n"), HasSubstr("\"grpc\" is a mapping"));
  EXPECT_THAT(FileError("load_threads: 1\nload_threads: 2\n"), HasSubstr(":2: "));
  EXPECT_THAT(FileError("log_level: &a info\nlog_format: *a\n"), HasSubstr("an alias"));
  EXPECT_THAT(FileError("load_threads: 1\n---\nload_threads: 2\n"), HasSubstr("second document"));
  // yaml-cpp stops reading at byte 4; the rest of the file used to be dropped in silence.
  EXPECT_THAT(FileError("load_threads: 1\n\x04\nwarmup_runs: 1\n"), HasSubstr(":2: control"));
  EXPECT_THAT(FileError(std::string((1 << 20) + 1, '#')), HasSubstr("more than 1048576 bytes"));
}

TEST_F(ServerConfigTest, DeepAndLongFilesEndInAnErrorSoon) {
  for (const char* piece : {"[", "{", "- ", "? ", "a: ", "{a: ", "&a ", "!a ", "\"", "a\n"}) {
    std::string text;
    while (text.size() < 100'000) text += piece;
    EXPECT_THAT(FileError(text), HasSubstr("torchd.yaml")) << piece;
  }
  EXPECT_THAT(FileError(std::string(500'000, 'k') + ": 1\n").size(), ::testing::Lt(1000U));
}

TEST_F(ServerConfigTest, EmptyFileChangesNothing) {
  for (const char* text : {"", "# comment\n", "---\n", "{}\n"}) {
    EXPECT_EQ(PrintConfig(Good({"--config", FileWith(text)})), PrintConfig(ServerConfig{})) << text;
  }
}

TEST_F(ServerConfigTest, ErrorsStayOnOneLine) {
  EXPECT_THAT(Error({"--log-level=a\nb"}), AllOf(HasSubstr("a\\nb"), Not(HasSubstr("\n"))));
}

TEST_F(ServerConfigTest, ActionsAreFlags) {
  const auto action = [](const Strings& arguments) {
    const auto parsed = ParseCommandLine(arguments, {});
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return parsed.ok() ? parsed->action : Action::kServe;
  };
  EXPECT_EQ(action({"--help"}), Action::kHelp);
  EXPECT_EQ(action({"--version"}), Action::kVersion);
  EXPECT_EQ(action({"--check-config"}), Action::kCheckConfig);
  EXPECT_EQ(action({"--print-config"}), Action::kPrintConfig);
  EXPECT_EQ(action({"--help", "--print-config"}), Action::kHelp);
}

TEST_F(ServerConfigTest, HelpAndVersionNeedNoGoodSettings) {
  for (const char* flag : {"--help", "--version"}) {
    EXPECT_TRUE(ParseCommandLine({flag, "--config=/nowhere"}, {"TORCHD_NONSENSE=1"}).ok()) << flag;
  }
}

TEST_F(ServerConfigTest, ServingNeedsARepository) {
  EXPECT_THAT(Error({}), AllOf(HasSubstr("model_repository"), HasSubstr("--model-repository PATH"),
                               HasSubstr("TORCHD_MODEL_REPOSITORY")));
  const auto parsed = ParseCommandLine({"--model-repository", "models"}, {});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->action, Action::kServe);
  EXPECT_EQ(parsed->config.model_repository, "models");
}

TEST_F(ServerConfigTest, PrintedConfigReadsBackTheSame) {
  ServerConfig config;
  config.model_repository = "a \"quoted\"\\ path: # \n\t\x01 \xC3\xA9 ~";
  config.address_file = "null";
  config.grpc_address = "[::1]:0";
  config.drain_limit_ms = 600'000;
  const ServerConfig read = Good({"--config", FileWith(PrintConfig(config))});
  EXPECT_EQ(read.model_repository, config.model_repository);
  EXPECT_EQ(read.address_file, "null");
  EXPECT_EQ(PrintConfig(read), PrintConfig(config));
}

TEST_F(ServerConfigTest, HelpNamesEverySetting) {
  for (const std::string& key : Keys()) {
    EXPECT_THAT(HelpText(), AllOf(HasSubstr(FlagOf(key) + " "), HasSubstr(VariableOf(key) + ")")));
  }
  for (const char* flag : {"--config", "--help", "--version", "--check-config", "--print-config"}) {
    EXPECT_THAT(HelpText(), HasSubstr(flag));
  }
}

// The example is what --print-config writes, below a heading of its own.
TEST_F(ServerConfigTest, ExampleFileHoldsTheDefaults) {
  const std::string path = std::string(TORCHD_SOURCE_DIR) + "/config/torchd.yaml";
  const std::string text = ReadFile(path);
  EXPECT_EQ(PrintConfig(Good({"--config", path})), PrintConfig(ServerConfig{}));
  EXPECT_THAT(text, HasSubstr(PrintConfig(ServerConfig{})));
  for (const std::string& key : Keys()) EXPECT_THAT(text, HasSubstr("\n" + key + ": "));
}

TEST_F(ServerConfigTest, ManualNamesEverySetting) {
  const std::string text = ReadFile(std::string(TORCHD_SOURCE_DIR) + "/docs/configuration.md");
  for (const std::string& key : Keys()) {
    EXPECT_THAT(text,
                HasSubstr("| `" + key + "` | `" + FlagOf(key) + "` | `" + VariableOf(key) + "` |"));
  }
}

TEST(CheckServerConfigTest, ThreadsOfAllExecutorsFitTheCores) {
  ServerConfig config;
  EXPECT_TRUE(CheckServerConfig(config, 1).ok());
  EXPECT_EQ(ThreadsPerExecutor(config, 8), 8);
  config.cpu_executors = 3;
  EXPECT_EQ(ThreadsPerExecutor(config, 8), 2);
  EXPECT_TRUE(CheckServerConfig(config, 8).ok());
  EXPECT_FALSE(CheckServerConfig(config, 2).ok());
  config.threads_per_executor = 3;
  const absl::Status status = CheckServerConfig(config, 8);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("cpu_executors 3"), HasSubstr("threads_per_executor 3"),
                    HasSubstr("9 threads"), HasSubstr("8 cores")));
}

TEST(CheckServerConfigTest, TheTwoServersListenApart) {
  ServerConfig config;
  config.grpc_address = config.http_address = "127.0.0.1:0";
  EXPECT_TRUE(CheckServerConfig(config, 2).ok());
  config.grpc_address = config.http_address = "127.0.0.1:8000";
  EXPECT_FALSE(CheckServerConfig(config, 2).ok());
  config.http_address = "[::1]:8001";
  EXPECT_THAT(std::string(CheckServerConfig(config, 2).message()),
              AllOf(HasSubstr("http_address"), HasSubstr("[::1]:8001"), HasSubstr("IPv4")));
}

}  // namespace
}  // namespace torchd
