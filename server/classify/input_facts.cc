#include "server/classify/input_facts.h"

#include <array>

#include "server/classify/classify.h"
#include "server/inference/pixels.h"
#include "server/preprocessing/image/formats.h"

namespace torchd {
namespace {

constexpr std::array<Activation, 3> kActivations = {Activation::kNone, Activation::kSoftmax,
                                                    Activation::kSigmoid};

const char* Name(ResizeFilter filter) {
  switch (filter) {
    case ResizeFilter::kNearest:
      return "nearest";
    case ResizeFilter::kBilinear:
      return "bilinear";
    case ResizeFilter::kBicubic:
      return "bicubic";
  }
  return "unknown";
}

// As model.yaml calls it; empty for numbers of the owner's own.
const char* PresetName(const ImageConfig& config) {
  constexpr std::array<float, 3> kHalves = {0.5F, 0.5F, 0.5F};
  const ImageConfig imagenet;
  if (config.scale != imagenet.scale) return "";
  if (config.mean == imagenet.mean && config.std == imagenet.std) return "imagenet";
  if (config.mean == kHalves && config.std == kHalves) return "imagenet-0.5";
  return "";
}

}  // namespace

ImageFacts FactsOf(const ImageConfig& image) {
  ImageFacts facts;
  facts.formats.assign(kImageFormats.begin(), kImageFormats.end());
  facts.resize = image.resize;
  facts.crop = image.crop;
  facts.filter = Name(image.filter);
  facts.antialias = image.antialias && image.filter != ResizeFilter::kNearest;
  facts.layout = image.layout == ImageLayout::kChw ? "chw" : "hwc";
  facts.data_type = Name(ImageInput("", image).type);
  if (image.as_levels) return facts;
  facts.preset = PresetName(image);
  facts.scale = image.scale.value_or(1.0F / 255);
  facts.mean.assign(image.mean.begin(), image.mean.end());
  facts.std.assign(image.std.begin(), image.std.end());
  return facts;
}

TextFacts TextFactsOf(const Preprocessor& preprocessor) {
  return {preprocessor.tokens_max(), preprocessor.lengths(), preprocessor.lowercase(),
          kTextBytesMax};
}

const char* Name(Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return "none";
    case Activation::kSoftmax:
      return "softmax";
    case Activation::kSigmoid:
      return "sigmoid";
  }
  return "unknown";
}

std::optional<Activation> ActivationByName(absl::string_view name) {
  for (const Activation one : kActivations) {
    if (name == Name(one)) return one;
  }
  return std::nullopt;
}

}  // namespace torchd
