#include "server/config/triton_fields.h"

#include <optional>

#include "server/config/names.h"

namespace torchd {

void NotHonoured::Add(const std::string& path, int line, absl::string_view why) {
  if (!paths_.insert(path).second) return;
  lines_.push_back(absl::StrCat(path, " (line ", line, "): ", why));
}

std::vector<std::string> NotHonoured::TakeLines() {
  const size_t lines = lines_.size();
  if (lines > kLinesMax) {
    lines_.resize(kLinesMax);
    lines_.push_back(absl::StrCat("and ", lines - kLinesMax, " more"));
  }
  return std::move(lines_);
}

absl::Status PbtxtError(int line, absl::string_view message) {
  return TextErrorAt("config.pbtxt", line, message);
}

absl::Status Wrong(const TextPlace& place, absl::string_view expected) {
  return PbtxtError(place.field.line, absl::StrCat(place.path, " is ", Describe(place.field),
                                                   ", expected ", expected));
}

bool IsDefault(const TextField& field) {
  if (field.kind == TextField::Kind::kString) return field.text.empty();
  return IntegerOf(field) == 0 || BoolOf(field) == false;
}

absl::Status TakeInteger(const TextPlace& place, TextRange range, int64_t& target) {
  const std::optional<int64_t> value = IntegerOf(place.field);
  if (!value || *value < range.least || *value > range.most) {
    return Wrong(place, absl::StrCat("a whole number in ", range.least, "..", range.most));
  }
  target = *value;
  return absl::OkStatus();
}

absl::Status TakeBool(const TextPlace& place, bool& target) {
  const std::optional<bool> value = BoolOf(place.field);
  if (!value) return Wrong(place, "true or false");
  target = *value;
  return absl::OkStatus();
}

absl::Status TakeText(const TextPlace& place, std::string& target) {
  if (place.field.kind != TextField::Kind::kString || place.field.text.size() > 255) {
    return Wrong(place, "a string in quotes of at most 255 bytes");
  }
  target = place.field.text;
  return absl::OkStatus();
}

absl::Status TakeFileName(const TextPlace& place, std::string& target) {
  TORCHD_RETURN_IF_ERROR(TakeText(place, target));
  if (target.empty() || IsPlainFileName(target)) return absl::OkStatus();
  return Wrong(place, "the name of a file, without a folder");
}

}  // namespace torchd
