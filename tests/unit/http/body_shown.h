// Bodies of REST calls as tests see them: what each item became, as text.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/http/classify_body.h"

namespace torchd {

using Query = std::vector<std::pair<std::string, std::string>>;

inline constexpr char kJson[] = "application/json";

// What an item became: "image BYTES", "text BYTES", "tensors NAME float32[2] 1 2;", or its status.
inline std::string Shown(const ClassifyItem& item) {
  if (const auto* status = std::get_if<absl::Status>(&item)) {
    EXPECT_EQ(status->code(), absl::StatusCode::kInvalidArgument);
    return std::string(status->message());
  }
  if (const auto* image = std::get_if<ImageItem>(&item))
    return absl::StrCat("image ", image->bytes);
  if (const auto* text = std::get_if<TextItem>(&item)) {
    return absl::StrCat("text ", text->text, text->pair ? " and " : "", text->pair.value_or(""));
  }
  std::string shown = "tensors";
  for (const NamedTensor& tensor : std::get<TensorItem>(item)) {
    const TensorView& view = tensor.view;
    absl::StrAppend(&shown, " ", tensor.name, " ", Name(view.type), ShapeText(view.shape));
    for (size_t i = 0; i < view.bytes / SizeOf(view.type); ++i) {
      switch (view.type) {
        case DataType::kUint8:
          absl::StrAppend(&shown, " ", static_cast<const uint8_t*>(view.data)[i]);
          break;
        case DataType::kInt32:
          absl::StrAppend(&shown, " ", static_cast<const int32_t*>(view.data)[i]);
          break;
        case DataType::kInt64:
          absl::StrAppend(&shown, " ", static_cast<const int64_t*>(view.data)[i]);
          break;
        case DataType::kFloat32:
          absl::StrAppend(&shown, " ", static_cast<const float*>(view.data)[i]);
          break;
      }
    }
    shown += ";";
  }
  return shown;
}

inline std::vector<std::string> Items(absl::string_view type, absl::string_view body,
                                      const Query& query = {}) {
  const auto read = ReadClassifyBody(type, body, query, {});
  if (!read.ok()) return {"refused: " + std::string(read.status().message())};
  std::vector<std::string> shown;
  for (const ClassifyItem& item : read->items) shown.push_back(Shown(item));
  return shown;
}

// Of a body that is refused as a whole.
inline std::string Refusal(absl::string_view body, const Query& query = {},
                           absl::string_view type = kJson) {
  const auto read = ReadClassifyBody(type, body, query, {});
  if (read.ok()) return "not refused";
  EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(read.status().message());
}

}  // namespace torchd
