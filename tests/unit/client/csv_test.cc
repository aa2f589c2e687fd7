#include "client/csv.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace torchd {
namespace {

v1::Class Found(int index, const std::string& label, float probability) {
  v1::Class one;
  one.set_index(index);
  one.set_label(label);
  one.set_probability(probability);
  return one;
}

TEST(ClassifyCsvTest, HasALineForEachClass) {
  v1::ClassifyResult result;
  *result.add_classes() = Found(285, "cat, Egyptian", 0.5F);
  *result.add_classes() = Found(3, "12\" gun", 0.25F);
  EXPECT_EQ(ClassifyCsv({"a.jpg", "lite0", 1, result}),
            "a.jpg,lite0,1,1,285,\"cat, Egyptian\",0.5,,\n"
            "a.jpg,lite0,1,2,3,\"12\"\" gun\",0.25,,\n");
}

TEST(ClassifyCsvTest, HasALineForAnError) {
  EXPECT_EQ(ClassifyCsv({"a\nb.jpg", "", 0, absl::InvalidArgumentError("bad, very")}),
            "\"a\nb.jpg\",,,,,,,INVALID_ARGUMENT,\"bad, very\"\n");
}

// With a threshold there may be none; the input must not be missing from a script's table.
TEST(ClassifyCsvTest, HasALineForAnInputWithoutAClass) {
  EXPECT_EQ(ClassifyCsv({"a.jpg", "m", 1, v1::ClassifyResult()}), "a.jpg,m,1,,,,,,\n");
}

TEST(ClassifyCsvTest, EveryLineHasTheColumnsOfTheHeadings) {
  const auto commas = [](const std::string& line) {
    return std::count(line.begin(), line.end(), ',');
  };
  v1::ClassifyResult result;
  *result.add_classes() = Found(1, "a", 1);
  const auto expected = commas(ClassifyCsvHeader());
  EXPECT_EQ(commas(ClassifyCsv({"f", "m", 1, result})), expected);
  EXPECT_EQ(commas(ClassifyCsv({"f", "m", 1, v1::ClassifyResult()})), expected);
  EXPECT_EQ(commas(ClassifyCsv({"f", "", 0, absl::NotFoundError("no")})), expected);
}

}  // namespace
}  // namespace torchd
