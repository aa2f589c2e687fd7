#include "server/http/json_tensor.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/base/casts.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/config/model_config.h"

namespace torchd {
namespace {

template <typename T>
void Append(T value, std::string& bytes) {
  char raw[sizeof value];
  std::memcpy(raw, &value, sizeof value);
  bytes.append(raw, sizeof raw);
}

}  // namespace

std::string JsonTensor::Where() const {
  return absl::StrCat("tensor ", name ? QuotedWord(*name) : "without a name", ": ");
}

absl::Status JsonTensor::OpenList() {
  has_lists_ = true;
  if (sizes_.size() > kDimensionsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(Where(), "its lists are nested more than ", kDimensionsMax + 1, " deep"));
  }
  if (!sizes_.empty()) {
    ++sizes_.back();
    if (leaf_depth_ != 0 && depth() >= leaf_depth_) ragged_ = true;
  }
  sizes_.push_back(0);
  return absl::OkStatus();
}

void JsonTensor::CloseList() {
  const size_t level = sizes_.size() - 1;
  if (nested_.size() <= level) nested_.resize(level + 1, -1);
  if (nested_[level] == -1) nested_[level] = sizes_.back();
  if (nested_[level] != sizes_.back()) ragged_ = true;
  sizes_.pop_back();
}

absl::Status JsonTensor::Count() {
  *bytes_left_ -= static_cast<int64_t>(sizeof(float));
  if (*bytes_left_ < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(Where(), "the tensors of the body are larger than message_bytes_max"));
  }
  ++sizes_.back();
  if (leaf_depth_ == 0) leaf_depth_ = depth();
  if (leaf_depth_ != depth()) ragged_ = true;
  return absl::OkStatus();
}

absl::Status JsonTensor::AddInteger(int64_t value) {
  TORCHD_RETURN_IF_ERROR(Count());
  cells_.push_back(value);
  fractional_.push_back(false);
  return absl::OkStatus();
}

absl::Status JsonTensor::AddNumber(double value) {
  TORCHD_RETURN_IF_ERROR(Count());
  cells_.push_back(absl::bit_cast<int64_t>(value));
  fractional_.push_back(true);
  return absl::OkStatus();
}

absl::StatusOr<Shape> JsonTensor::ShapeOfLists() const {
  if (ragged_) {
    return absl::InvalidArgumentError(
        absl::StrCat(Where(), "its lists differ in length or depth at the same level"));
  }
  if (!shape || *shape == nested_) return nested_;
  if (nested_.size() == 1) return *shape;  // Flat: the shape says how it is folded.
  return absl::InvalidArgumentError(absl::StrCat(Where(), "shape is ", ShapeText(*shape),
                                                 ", but its lists are ", ShapeText(nested_)));
}

template <typename T>
absl::StatusOr<std::string> JsonTensor::IntegerBytes(DataType type) const {
  std::string bytes;
  bytes.reserve(cells_.size() * sizeof(T));
  for (size_t i = 0; i < cells_.size(); ++i) {
    const bool fits =
        cells_[i] >= std::numeric_limits<T>::min() && cells_[i] <= std::numeric_limits<T>::max();
    if (fractional_[i] || !fits) {
      return absl::InvalidArgumentError(
          absl::StrCat(Where(), "element ", i, " is no ", Name(type)));
    }
    Append(static_cast<T>(cells_[i]), bytes);
  }
  return bytes;
}

absl::StatusOr<std::string> JsonTensor::FloatBytes() const {
  std::string bytes;
  bytes.reserve(cells_.size() * sizeof(float));
  for (size_t i = 0; i < cells_.size(); ++i) {
    const double wide =
        fractional_[i] ? absl::bit_cast<double>(cells_[i]) : static_cast<double>(cells_[i]);
    const bool fits = std::abs(wide) <= std::numeric_limits<float>::max();
    if (!fits) {
      return absl::InvalidArgumentError(absl::StrCat(Where(), "element ", i, " is no float32"));
    }
    Append(static_cast<float>(wide), bytes);
  }
  return bytes;
}

absl::StatusOr<std::string> JsonTensor::Bytes(DataType type) const {
  switch (type) {
    case DataType::kUint8:
      return IntegerBytes<uint8_t>(type);
    case DataType::kInt32:
      return IntegerBytes<int32_t>(type);
    case DataType::kInt64:
      return IntegerBytes<int64_t>(type);
    case DataType::kFloat32:
      break;
  }
  return FloatBytes();
}

absl::StatusOr<NamedTensor> JsonTensor::Finish(ClassifyBody& body) {
  const DataType type =
      data_type ? DataTypeByName(*data_type).value_or(DataType::kFloat32) : DataType::kFloat32;
  if (has_lists_ == base64.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(Where(), "expected one of data, as lists, and base64"));
  }
  if (base64 && !shape) {
    return absl::InvalidArgumentError(absl::StrCat(Where(), "base64 needs shape"));
  }
  NamedTensor tensor;
  tensor.view.type = type;
  absl::StatusOr<std::string> bytes;
  if (base64) {
    tensor.view.shape = *shape;
    std::string raw;
    if (!absl::Base64Unescape(*base64, &raw)) {
      return absl::InvalidArgumentError(absl::StrCat(Where(), "base64: it is no base64"));
    }
    bytes = std::move(raw);
  } else {
    TORCHD_ASSIGN_OR_RETURN(tensor.view.shape, ShapeOfLists());
    bytes = Bytes(type);
  }
  TORCHD_RETURN_IF_ERROR(bytes.status());
  if (name) tensor.name = body.Own(*std::move(name));
  const absl::string_view kept = body.Own(*std::move(bytes));
  tensor.view.data = kept.data();
  tensor.view.bytes = kept.size();
  return tensor;
}

}  // namespace torchd
