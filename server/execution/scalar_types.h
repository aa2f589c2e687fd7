// Our data types and LibTorch's. Private to the folder `execution`.
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>

#include "server/inference/tensor.h"

namespace torchd {

inline c10::ScalarType ToTorch(DataType type) {
  switch (type) {
    case DataType::kUint8:
      return c10::kByte;
    case DataType::kInt32:
      return c10::kInt;
    case DataType::kInt64:
      return c10::kLong;
    case DataType::kFloat32:
      return c10::kFloat;
  }
  return c10::kFloat;
}

// None for a type that requests cannot have.
inline std::optional<DataType> FromTorch(c10::ScalarType type) {
  switch (type) {
    case c10::kByte:
      return DataType::kUint8;
    case c10::kInt:
      return DataType::kInt32;
    case c10::kLong:
      return DataType::kInt64;
    case c10::kFloat:
      return DataType::kFloat32;
    default:
      return std::nullopt;
  }
}

}  // namespace torchd
