#include "client/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace torchd {
namespace {

using testing::HasSubstr;
using testing::Not;

v1::ModelVersion Version(const std::string& name, int64_t number, v1::VersionState state) {
  v1::ModelVersion version;
  version.set_name(name);
  version.set_version(number);
  version.set_state(state);
  return version;
}

v1::ListModelsResponse Listed(const std::vector<v1::ModelVersion>& versions) {
  v1::ListModelsResponse response;
  for (const v1::ModelVersion& version : versions) *response.add_models() = version;
  return response;
}

v1::ModelVersion Photos() {
  v1::ModelVersion model = Version("lite0", 2, v1::VERSION_STATE_READY);
  model.add_takes("image");
  model.add_takes("tensor");
  v1::TensorDescription& input = *model.add_inputs();
  input.set_name("image");
  input.set_data_type("float32");
  for (const int size : {3, 224, 224}) input.add_shape(size);
  model.add_outputs()->add_shape(1000);
  model.set_labels(1000);
  v1::ImageInput& image = *model.mutable_image();
  image.add_formats("jpeg");
  image.add_formats("png");
  image.set_preset("imagenet");
  image.set_resize(256);
  image.set_crop(224);
  image.set_filter("bilinear");
  image.set_antialias(true);
  for (const float one : {0.485F, 0.456F, 0.406F}) image.add_mean(one);
  for (const float one : {0.229F, 0.224F, 0.225F}) image.add_std(one);
  image.set_layout("chw");
  image.set_data_type("float32");
  image.set_scale(1.0F / 255);
  model.set_activation("softmax");
  return model;
}

TEST(VersionToExplainTest, IsTheHighestThatIsReady) {
  const auto response =
      Listed({Version("a", 1, v1::VERSION_STATE_READY), Version("a", 2, v1::VERSION_STATE_READY),
              Version("a", 3, v1::VERSION_STATE_LOADING)});
  EXPECT_EQ(VersionToExplain(response, 0)->version(), 2);
  EXPECT_EQ(VersionToExplain(response, 1)->version(), 1);
}

TEST(VersionToExplainTest, SaysWhyThereIsNone) {
  v1::ModelVersion broken = Version("a", 3, v1::VERSION_STATE_UNAVAILABLE);
  broken.set_reason("no model.pt");
  const absl::Status unready = VersionToExplain(Listed({broken}), 0).status();
  EXPECT_EQ(unready.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(unready.message()), HasSubstr("version 3 is UNAVAILABLE: no model.pt"));
  const absl::Status unknown = VersionToExplain(Listed({broken}), 9).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("'a' has no version 9"));
  EXPECT_EQ(VersionToExplain(Listed({}), 0).status().code(), absl::StatusCode::kNotFound);
}

TEST(VersionToExplainTest, WantsANameWhereThereAreSeveral) {
  const absl::Status several = VersionToExplain(Listed({Version("a", 1, v1::VERSION_STATE_READY),
                                                        Version("b", 1, v1::VERSION_STATE_READY)}),
                                                0)
                                   .status();
  EXPECT_EQ(several.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(several.message()), HasSubstr("name one of a, b"));
}

TEST(ExplainTextTest, TellsAnImagesWayAndAnExample) {
  EXPECT_EQ(ExplainText(Photos()),
            "lite0 version 2 takes image or tensor, and answers 1000 classes, 1000 labels\n"
            "Scores: probabilities over all classes (softmax)\n"
            "\n"
            "Image: jpeg, png\n"
            "  1. resized: the shorter side to 256 pixels (bilinear, antialiased)\n"
            "  2. the middle 224x224 cut out\n"
            "  3. each of red, green, blue in 0..1, less 0.485 0.456 0.406, divided by 0.229 0.224 "
            "0.225 (preset imagenet)\n"
            "  4. to the model as float32 [3,224,224]\n"
            "  $ torchctl classify --model lite0 photo.jpg\n"
            "\n"
            "Tensors, one item of:\n"
            "  image  float32  [3,224,224]  602112 bytes\n"
            "  or uint8 [224,224,3] or [3,224,224], a picture that is cut already: from step 3 on\n"
            "  >>> torchd.Client().classify({\"image\": numpy.zeros((3, 224, 224), \"float32\")}, "
            "model=\"lite0\")\n");
}

TEST(ExplainTextTest, TellsLevelsFromNumbers) {
  v1::ModelVersion model = Photos();
  v1::ImageInput& image = *model.mutable_image();
  image.set_filter("nearest");
  image.set_antialias(false);
  image.set_preset("");
  image.set_scale(1);
  std::string said = ExplainText(model);
  EXPECT_THAT(said, HasSubstr("pixels (nearest)\n"));
  EXPECT_THAT(said, HasSubstr("each of red, green, blue in 0..255, less 0.485 0.456 0.406, divided "
                              "by 0.229 0.224 0.225\n"));
  image.set_data_type("uint8");
  image.set_layout("hwc");
  image.clear_scale();
  image.clear_mean();
  image.clear_std();
  said = ExplainText(model);
  EXPECT_THAT(said, HasSubstr("3. the levels of red, green, blue as they are, 0..255\n"
                              "  4. to the model as uint8 [224,224,3]\n"));
  EXPECT_THAT(said, Not(HasSubstr("less")));
  EXPECT_THAT(said, Not(HasSubstr("or uint8")));
}

TEST(ExplainTextTest, TellsWhatScoresBecome) {
  v1::ModelVersion model = Photos();
  model.set_activation("sigmoid");
  model.set_threshold(0.5F);
  EXPECT_THAT(ExplainText(model), HasSubstr("Scores: a probability of each class for itself "
                                            "(sigmoid); classes below 0.5 are left out\n"));
  model.set_activation("none");
  model.clear_threshold();
  EXPECT_THAT(ExplainText(model), HasSubstr("Scores: as the model gives them\n"));
}

TEST(ExplainTextTest, TellsATextsLengths) {
  v1::ModelVersion model = Version("sentiment", 1, v1::VERSION_STATE_READY);
  model.add_takes("text");
  v1::TextInput& text = *model.mutable_text();
  text.set_tokens_max(512);
  text.add_lengths(16);
  text.add_lengths(512);
  text.set_lowercase(true);
  text.set_bytes_max(1048576);
  const std::string said = ExplainText(model);
  EXPECT_THAT(said, HasSubstr("lower-cased, without accents"));
  EXPECT_THAT(said, HasSubstr("cut after 512 tokens"));
  EXPECT_THAT(said, HasSubstr("padded to the next of 16, 512 tokens"));
  EXPECT_THAT(said, HasSubstr("$ torchctl classify --model sentiment --text \"I liked it\""));
  EXPECT_THAT(said, HasSubstr("$ torchctl classify --model sentiment --text \"It rains\" --pair "));
  EXPECT_THAT(said, HasSubstr("no labels"));
  EXPECT_THAT(said, Not(HasSubstr("Tensors")));
  text.set_tokens_max(2);  // No room for what stands around two texts.
  EXPECT_THAT(ExplainText(model), Not(HasSubstr("--pair")));
}

TEST(ExplainTextTest, OpenSizesAreQuestionMarks) {
  v1::ModelVersion model = Version("m", 1, v1::VERSION_STATE_READY);
  model.add_takes("tensor");
  v1::TensorDescription& input = *model.add_inputs();
  input.set_name("ids");
  input.set_data_type("int64");
  input.add_shape(-1);
  const std::string said = ExplainText(model);
  EXPECT_THAT(said, HasSubstr("ids  int64  [?]"));
  EXPECT_THAT(said, HasSubstr("numpy.zeros((1,), \"int64\")"));
}

}  // namespace
}  // namespace torchd
