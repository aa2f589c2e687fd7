#include "server/base/utf8.h"

#include <string>

#include "gtest/gtest.h"

namespace torchd {
namespace {

TEST(Utf8Test, TellsTextFromOtherBytes) {
  for (const std::string text : {"", "plain\x7f", "caf\u00e9", "\u0080\u07ff\u0800\uffff",
                                 "\U00010000\U0010ffff", "\ud7ff\ue000"}) {
    EXPECT_TRUE(IsUtf8(text)) << text;
  }
  for (const std::string bytes :
       {"caf\xe9", "\x80", "\xc3", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "a\xff", "\xe2\x82z"}) {
    EXPECT_FALSE(IsUtf8(bytes)) << testing::PrintToString(bytes);
  }
}

}  // namespace
}  // namespace torchd
