#include "server/inference/tensor.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace torchd {
namespace {

struct TypeRow {
  DataType type;
  const char* name;
  size_t size;
};
constexpr std::array<TypeRow, 4> kTypes = {{
    {DataType::kUint8, "uint8", 1},
    {DataType::kInt32, "int32", 4},
    {DataType::kInt64, "int64", 8},
    {DataType::kFloat32, "float32", 4},
}};

const TypeRow& RowOf(DataType type) { return kTypes.at(static_cast<size_t>(type)); }

}  // namespace

size_t SizeOf(DataType type) { return RowOf(type).size; }

const char* Name(DataType type) { return RowOf(type).name; }

std::optional<DataType> DataTypeByName(absl::string_view name) {
  for (const TypeRow& row : kTypes) {
    if (name == row.name) return row.type;
  }
  return std::nullopt;
}

std::string ShapeText(const Shape& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ","), "]");
}

std::optional<size_t> BytesOf(DataType type, const Shape& shape) {
  size_t bytes = SizeOf(type);
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, static_cast<size_t>(size), &bytes)) {
      return std::nullopt;
    }
  }
  return bytes;
}

}  // namespace torchd
