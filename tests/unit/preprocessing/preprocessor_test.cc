#include "server/preprocessing/preprocessor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kVocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\ncat\n";

ModelConfig TextModel(int tokens_max) {
  ModelConfig config;
  config.text.emplace();
  config.text->tokens_max = tokens_max;
  return config;
}

std::vector<TensorSpec> Inputs(int64_t ids, int64_t mask) {
  return {{"input_ids", DataType::kInt64, {ids}}, {"attention_mask", DataType::kInt64, {mask}}};
}

std::vector<int64_t> LengthsOf(const Preprocessor& preprocessor, const std::string& text) {
  const auto tensors = preprocessor.FromText(text);
  EXPECT_TRUE(tensors.ok()) << tensors.status().message();
  std::vector<int64_t> lengths;
  for (const Tensor& tensor : *tensors) {
    lengths.push_back(static_cast<int64_t>(tensor.bytes.size() / sizeof(int64_t)));
  }
  return lengths;
}

TEST(PreprocessorTest, TextsAreOfTheOneLengthThatTheModelTakes) {
  const auto preprocessor = Preprocessor::Create(TextModel(512), Inputs(24, 24), kVocabulary, {});
  ASSERT_TRUE(preprocessor.ok()) << preprocessor.status().message();
  const std::vector<int64_t> both = {24, 24};
  EXPECT_EQ(LengthsOf(*preprocessor, "cat"), both);
  std::string cats;
  for (int i = 0; i < 100; ++i) cats += "cat ";
  EXPECT_EQ(LengthsOf(*preprocessor, cats), both);
}

TEST(PreprocessorTest, TextsOfAModelOfOneLengthAreTruncatedWhereTheConfigurationSays) {
  const auto preprocessor = Preprocessor::Create(TextModel(3), Inputs(24, 24), kVocabulary, {});
  ASSERT_TRUE(preprocessor.ok()) << preprocessor.status().message();
  const auto tensors = preprocessor->FromText("cat cat cat");
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  EXPECT_EQ((*tensors)[0].bytes.size(), 24 * sizeof(int64_t));
  const auto& mask = (*tensors)[1].bytes;  // Little-endian: 1 per token, then nothing.
  int tokens = 0;
  for (const auto byte : mask) tokens += static_cast<int>(byte);
  EXPECT_EQ(tokens, 3);
}

TEST(PreprocessorTest, TextsOfAnyLengthArePaddedToTheNextOfTheList) {
  const auto preprocessor = Preprocessor::Create(TextModel(512), Inputs(-1, -1), kVocabulary, {});
  ASSERT_TRUE(preprocessor.ok()) << preprocessor.status().message();
  EXPECT_EQ(LengthsOf(*preprocessor, "cat"), (std::vector<int64_t>{16, 16}));
}

std::vector<int64_t> Numbers(const Tensor& tensor) {
  std::vector<int64_t> numbers(tensor.bytes.size() / sizeof(int64_t));
  std::memcpy(numbers.data(), tensor.bytes.data(), tensor.bytes.size());
  return numbers;
}

TEST(PreprocessorTest, TokenTypesTellTheTextsOfAPairApart) {
  std::vector<TensorSpec> inputs = Inputs(8, 8);
  inputs.push_back({"token_type_ids", DataType::kInt64, {8}});
  const auto preprocessor = Preprocessor::Create(TextModel(512), inputs, kVocabulary, {});
  ASSERT_TRUE(preprocessor.ok()) << preprocessor.status().message();
  const auto tensors = preprocessor->FromText("cat", "cat cat");
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  EXPECT_THAT(Numbers((*tensors)[0]), ElementsAre(2, 4, 3, 4, 4, 3, 0, 0));
  EXPECT_THAT(Numbers((*tensors)[1]), ElementsAre(1, 1, 1, 1, 1, 1, 0, 0));
  EXPECT_THAT(Numbers((*tensors)[2]), ElementsAre(0, 0, 0, 1, 1, 1, 0, 0));
}

// As BertTokenizer(text, "") does it.
TEST(PreprocessorTest, AnEmptySecondTextIsNone) {
  const auto preprocessor = Preprocessor::Create(TextModel(512), Inputs(8, 8), kVocabulary, {});
  ASSERT_TRUE(preprocessor.ok()) << preprocessor.status().message();
  const auto ids = [&preprocessor](absl::string_view first, absl::string_view second) {
    const auto tensors = preprocessor->FromText(first, second);
    EXPECT_TRUE(tensors.ok()) << tensors.status().message();
    return Numbers((*tensors)[0]);
  };
  EXPECT_THAT(ids("cat", ""), ElementsAre(2, 4, 3, 0, 0, 0, 0, 0));
  EXPECT_THAT(ids("cat", " "), ElementsAre(2, 4, 3, 3, 0, 0, 0, 0));
  EXPECT_THAT(ids("", "cat"), ElementsAre(2, 3, 4, 3, 0, 0, 0, 0));
  EXPECT_THAT(ids("", ""), ElementsAre(2, 3, 0, 0, 0, 0, 0, 0));
}

TEST(PreprocessorTest, PictureIsMadeAsTheModelTakesIt) {
  ModelConfig config;
  config.image.emplace().layout = ImageLayout::kHwc;
  config.image->as_levels = true;
  config.image->crop = 5;
  const TensorSpec input = ImageInput("image", *config.image);
  EXPECT_EQ(Preprocessor::Create(config, {input}, "", {})->pixels(), nullptr);
  config.image->as_levels = false;
  const auto refused = Preprocessor::Create(config, {input}, "", {});
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("image: makes float32 [5,5,3], but input 'image' takes uint8 [5,5,3]"));
}

TEST(PreprocessorTest, InputsOfDifferentLengthsAreRefused) {
  const auto preprocessor = Preprocessor::Create(TextModel(512), Inputs(24, 32), kVocabulary, {});
  EXPECT_THAT(std::string(preprocessor.status().message()),
              HasSubstr("fills inputs of one shape, [-1] or [N], but 'attention_mask' has [32]"));
}

TEST(PreprocessorTest, OneLengthNeedsAMask) {
  const auto preprocessor = Preprocessor::Create(
      TextModel(512), {{"input_ids", DataType::kInt64, {24}}}, kVocabulary, {});
  EXPECT_THAT(std::string(preprocessor.status().message()), HasSubstr("attention_mask"));
}

}  // namespace
}  // namespace torchd
