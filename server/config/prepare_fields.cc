#include "server/config/prepare_fields.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/base/status_macros.h"

namespace torchd {
namespace {

absl::Status ReadRgb(const YamlPlace& place, bool positive, std::array<float, 3>& target) {
  const absl::string_view expected = positive ? "three numbers above 0, for red, green, blue"
                                              : "three numbers, for red, green, blue";
  if (!IsList(place.node) || place.node.items.size() != target.size())
    return Wrong(place, expected);
  for (size_t i = 0; i < target.size(); ++i) {
    const YamlPlace item = {place.node.items[i], absl::StrCat(place.path, "[", i, "]")};
    float value = 0;
    // A denormal would turn the division by it into infinities.
    if (!IsScalar(item.node) || !absl::SimpleAtof(item.node.text, &value) ||
        !std::isfinite(value) || (positive && (value <= 0 || !std::isnormal(value)))) {
      return Wrong(item, positive ? "a finite number above 0" : "a finite number");
    }
    target[i] = value;
  }
  return absl::OkStatus();
}

absl::Status ReadPreset(const YamlPlace& place, ImageConfig& image) {
  ImageConfig halves;
  halves.mean.fill(0.5F);
  halves.std.fill(0.5F);
  using Entry = std::pair<absl::string_view, ImageConfig>;
  const std::array<Entry, 2> known = {Entry{"imagenet", ImageConfig{}},
                                      Entry{"imagenet-0.5", halves}};
  return ReadOneOf(place, known, image);
}

absl::Status ReadFilter(const YamlPlace& place, ResizeFilter& filter) {
  using Entry = std::pair<absl::string_view, ResizeFilter>;
  constexpr std::array<Entry, 3> kKnown = {Entry{"nearest", ResizeFilter::kNearest},
                                           Entry{"bilinear", ResizeFilter::kBilinear},
                                           Entry{"bicubic", ResizeFilter::kBicubic}};
  return ReadOneOf(place, kKnown, filter);
}

absl::Status ReadScale(const YamlPlace& place, std::optional<float>& target) {
  float value = 0;
  if (!IsScalar(place.node) || !absl::SimpleAtof(place.node.text, &value) || value <= 0 ||
      !std::isnormal(value)) {
    return Wrong(place, "a finite number above 0");
  }
  target = value;
  return absl::OkStatus();
}

absl::Status ReadLayout(const YamlPlace& place, ImageLayout& layout) {
  using Entry = std::pair<absl::string_view, ImageLayout>;
  constexpr std::array<Entry, 2> kKnown = {Entry{"chw", ImageLayout::kChw},
                                           Entry{"hwc", ImageLayout::kHwc}};
  return ReadOneOf(place, kKnown, layout);
}

absl::Status ReadPixelType(const YamlPlace& place, ImageConfig& image) {
  using Entry = std::pair<absl::string_view, bool>;
  constexpr std::array<Entry, 2> kKnown = {Entry{"float32", false}, Entry{"uint8", true}};
  return ReadOneOf(place, kKnown, image.as_levels);
}

constexpr YamlField<ImageConfig> kImageFields[] = {
    // ReadImage() took it already: the other keys override it wherever it stands.
    {"preset", [](const YamlPlace& /*place*/, ImageConfig& /*image*/) { return absl::OkStatus(); }},
    {"resize",
     [](const YamlPlace& place, ImageConfig& image) {
       return ReadInt(place, {1, 4096}, image.resize);
     }},
    {"crop",
     [](const YamlPlace& place, ImageConfig& image) {
       return ReadInt(place, {1, 4096}, image.crop);
     }},
    {"filter",
     [](const YamlPlace& place, ImageConfig& image) { return ReadFilter(place, image.filter); }},
    {"antialias",
     [](const YamlPlace& place, ImageConfig& image) { return ReadBool(place, image.antialias); }},
    {"scale",
     [](const YamlPlace& place, ImageConfig& image) { return ReadScale(place, image.scale); }},
    {"mean",
     [](const YamlPlace& place, ImageConfig& image) { return ReadRgb(place, false, image.mean); }},
    {"std",
     [](const YamlPlace& place, ImageConfig& image) { return ReadRgb(place, true, image.std); }},
    {"layout",
     [](const YamlPlace& place, ImageConfig& image) { return ReadLayout(place, image.layout); }},
    {"data_type",
     [](const YamlPlace& place, ImageConfig& image) { return ReadPixelType(place, image); }},
};

}  // namespace

absl::Status ReadImage(const YamlPlace& place, ImageConfig& image) {
  if (const YamlNode* preset = place.node.Find("preset"); preset != nullptr) {
    TORCHD_RETURN_IF_ERROR(ReadPreset({*preset, place.path + ".preset"}, image));
  }
  return ReadMapping(place, absl::Span<const YamlField<ImageConfig>>(kImageFields), image);
}

namespace {

absl::Status ReadLengths(const YamlPlace& place, std::vector<int>& lengths) {
  constexpr size_t kLengthsMax = 64;
  if (!IsList(place.node) || place.node.items.size() > kLengthsMax) {
    return Wrong(place, absl::StrCat("a list of 0..", kLengthsMax, " ascending lengths"));
  }
  lengths.clear();
  for (size_t i = 0; i < place.node.items.size(); ++i) {
    const YamlPlace item = {place.node.items[i], absl::StrCat(place.path, "[", i, "]")};
    const int least = lengths.empty() ? 1 : lengths.back() + 1;
    TORCHD_RETURN_IF_ERROR(ReadInt(item, {least, 8192}, lengths.emplace_back()));
  }
  return absl::OkStatus();
}

constexpr YamlField<TextConfig> kTextFields[] = {
    {"vocabulary",
     [](const YamlPlace& place, TextConfig& text) { return ReadFileName(place, text.vocabulary); }},
    {"lowercase", [](const YamlPlace& place,
                     TextConfig& text) { return ReadBool(place, text.lowercase.emplace()); }},
    {"tokens_max",
     [](const YamlPlace& place, TextConfig& text) {
       return ReadInt(place, {2, 8192}, text.tokens_max);
     }},
    {"lengths",
     [](const YamlPlace& place, TextConfig& text) { return ReadLengths(place, text.lengths); }},
};

}  // namespace

absl::Status ReadText(const YamlPlace& place, TextConfig& text) {
  return ReadMapping(place, absl::Span<const YamlField<TextConfig>>(kTextFields), text);
}

}  // namespace torchd
