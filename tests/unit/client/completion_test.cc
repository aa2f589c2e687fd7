#include "client/completion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/flags.h"

namespace torchd {
namespace {

using testing::HasSubstr;
using testing::Not;

class CompletionTest : public testing::TestWithParam<const char*> {};

TEST_P(CompletionTest, KnowsEveryCommandAndEveryFlag) {
  const std::string script = CompletionScript(GetParam());
  for (const CommandName& command : Commands()) EXPECT_THAT(script, HasSubstr(command.name));
  for (const Flag& flag : Flags()) {
    const std::string name = flag.name;
    EXPECT_THAT(script, HasSubstr(name.substr(name[1] == '-' ? 2 : 1)));
  }
  EXPECT_THAT(script, HasSubstr("high normal low"));
  EXPECT_THAT(script, HasSubstr("none softmax sigmoid"));
  EXPECT_THAT(script, HasSubstr("torchctl models --names"));
  EXPECT_THAT(script, Not(testing::ContainsRegex("@[A-Z]")));  // All is filled in.
}

INSTANTIATE_TEST_SUITE_P(Shells, CompletionTest, testing::Values("bash", "zsh", "fish"));

}  // namespace
}  // namespace torchd
