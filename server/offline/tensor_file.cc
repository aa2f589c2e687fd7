#include "server/offline/tensor_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/status_macros.h"

namespace torchd {
namespace {

constexpr absl::string_view kNpyMagic("\x93NUMPY", 6);
constexpr size_t kNpyVersion = 2;  // Bytes after the magic.

std::string Declared(const TensorSpec& input) {
  return absl::StrCat(Name(input.type), ShapeText(input.shape));
}

absl::Status Wrong(absl::string_view name, const TensorSpec& input, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(name, " for input '", input.name, "', ", Declared(input), ": ", what));
}

absl::string_view NpyType(DataType type) {
  switch (type) {
    case DataType::kUint8:
      return "|u1";
    case DataType::kInt32:
      return "<i4";
    case DataType::kInt64:
      return "<i8";
    case DataType::kFloat32:
      return "<f4";
  }
  return "";
}

// What follows `'key':` in the header, which is a Python literal written by NumPy; empty: nothing.
absl::string_view After(absl::string_view header, absl::string_view key) {
  const size_t at = header.find(absl::StrCat("'", key, "':"));
  if (at == absl::string_view::npos) return {};
  absl::string_view rest = header.substr(at + key.size() + 3);
  while (absl::StartsWith(rest, " ")) rest.remove_prefix(1);
  return rest;
}

// Of "(1, 3, 224, 224), ...".
absl::StatusOr<Shape> NpyShape(absl::string_view text) {
  const size_t end = text.find(')');
  if (!absl::StartsWith(text, "(") || end == absl::string_view::npos) {
    return absl::InvalidArgumentError("a .npy header without a shape");
  }
  Shape shape;
  for (const absl::string_view word :
       absl::StrSplit(text.substr(1, end - 1), ',', absl::SkipWhitespace())) {
    int64_t size = 0;
    if (!absl::SimpleAtoi(word, &size) || size < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("a .npy header with the size '", word, "', expected 1 or more"));
    }
    shape.push_back(size);
  }
  return shape;
}

// The header's length stands before it, in 2 bytes, or in 4 from version 2 on.
absl::StatusOr<absl::string_view> TakeNpyHeader(absl::string_view& bytes) {
  bytes.remove_prefix(kNpyMagic.size());
  const absl::Status cut = absl::InvalidArgumentError("a .npy file that ends in its header");
  if (bytes.size() < kNpyVersion) return cut;
  const size_t width = bytes[0] == 1 ? 2 : 4;
  bytes.remove_prefix(kNpyVersion);
  if (bytes.size() < width) return cut;
  size_t length = 0;
  for (size_t i = 0; i < width; ++i) {
    length |= static_cast<size_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  bytes.remove_prefix(width);
  if (bytes.size() < length) return cut;
  const absl::string_view header = bytes.substr(0, length);
  bytes.remove_prefix(length);
  return header;
}

bool Fits(const Shape& shape, const Shape& declared) {
  return std::equal(shape.begin(), shape.end(), declared.begin(), declared.end(),
                    [](int64_t given, int64_t want) { return want < 0 || given == want; });
}

// Leaves the elements in `bytes`.
absl::StatusOr<Shape> TakeNpyShape(absl::string_view& bytes, const TensorSpec& input) {
  TORCHD_ASSIGN_OR_RETURN(const absl::string_view header, TakeNpyHeader(bytes));
  const std::string type = absl::StrCat("'", NpyType(input.type), "'");
  const absl::string_view descr = After(header, "descr");
  if (!absl::StartsWith(descr, type)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a .npy file of type ", descr.substr(0, descr.find(',')), ", expected ", type));
  }
  if (!absl::StartsWith(After(header, "fortran_order"), "False")) {
    return absl::InvalidArgumentError("a .npy file in Fortran order, expected C order");
  }
  TORCHD_ASSIGN_OR_RETURN(const Shape given, NpyShape(After(header, "shape")));
  Shape shape = given;
  if (shape.size() == input.shape.size() + 1 && shape[0] == 1) shape.erase(shape.begin());
  if (Fits(shape, input.shape)) return shape;
  return absl::InvalidArgumentError(absl::StrCat("a .npy file of shape ", ShapeText(given),
                                                 ", expected one row (or with a leading 1)"));
}

// The open size is what is left once the others are known.
absl::StatusOr<Shape> RawShape(size_t bytes, const TensorSpec& input) {
  Shape shape = input.shape;
  const auto open =
      std::count_if(shape.begin(), shape.end(), [](int64_t size) { return size < 0; });
  if (open == 0) return shape;
  if (open > 1) {
    return absl::InvalidArgumentError(
        "a raw file does not tell several open sizes, expected a .npy file");
  }
  const auto place =
      std::find_if(shape.begin(), shape.end(), [](int64_t size) { return size < 0; });
  *place = 1;
  const size_t step = BytesOf(input.type, shape).value_or(0);
  if (step == 0 || bytes == 0 || bytes % step != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("got ", bytes, " bytes, expected a multiple of ", step));
  }
  *place = static_cast<int64_t>(bytes / step);
  return shape;
}

}  // namespace

absl::StatusOr<Tensor> ParseTensorFile(absl::string_view bytes, absl::string_view name,
                                       const TensorSpec& input) {
  auto shape = absl::StartsWith(bytes, kNpyMagic) ? TakeNpyShape(bytes, input)
                                                  : RawShape(bytes.size(), input);
  if (!shape.ok()) return Wrong(name, input, shape.status().message());
  const auto expected = BytesOf(input.type, *shape);
  if (!expected || *expected != bytes.size()) {
    return Wrong(name, input,
                 absl::StrCat("got ", bytes.size(), " bytes of elements, expected ",
                              expected ? absl::StrCat(*expected) : "fewer sizes"));
  }
  return Tensor{input.type, *std::move(shape), {bytes.begin(), bytes.end()}};
}

absl::StatusOr<Tensor> ReadTensorFile(const std::string& path, const TensorSpec& input) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  std::string bytes;
  std::vector<char> chunk(1 << 16);
  size_t got = 0;
  // A folder opens, and then says EISDIR when it is read.
  while (file != nullptr && (got = std::fread(chunk.data(), 1, chunk.size(), file.get())) > 0) {
    bytes.append(chunk.data(), got);
  }
  if (file == nullptr || std::ferror(file.get()) != 0) {
    return absl::NotFoundError(absl::StrCat("cannot read ", path, ": ", std::strerror(errno)));
  }
  return ParseTensorFile({bytes.data(), bytes.size()}, path, input);
}

}  // namespace torchd
