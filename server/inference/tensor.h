// Host tensors as requests bring them and models give them: bytes with a type and a shape.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace torchd {

enum class DataType { kUint8, kInt32, kInt64, kFloat32 };

size_t SizeOf(DataType type);
const char* Name(DataType type);                                 // "float32"
std::optional<DataType> DataTypeByName(absl::string_view name);  // Inverse of Name().

using Shape = std::vector<int64_t>;
std::string ShapeText(const Shape& shape);  // "[1,3,224,224]"

// Number of bytes of a dense tensor; empty on a negative size or overflow.
std::optional<size_t> BytesOf(DataType type, const Shape& shape);

class Pixels;

// Borrows its bytes from whoever made it. Cheap to copy.
struct TensorView {
  DataType type = DataType::kFloat32;
  Shape shape;
  const void* data = nullptr;
  size_t bytes = 0;
  // Set: these are levels of a picture, and the model is given what this makes of them.
  const Pixels* pixels = nullptr;
};

// Owns its bytes.
struct Tensor {
  DataType type = DataType::kFloat32;
  Shape shape;
  std::vector<char> bytes;

  TensorView View() const { return {type, shape, bytes.data(), bytes.size(), nullptr}; }
};

// One input or output of a model, without the batch dimension; -1: any size.
struct TensorSpec {
  std::string name;
  DataType type = DataType::kFloat32;
  Shape shape;
};

}  // namespace torchd
