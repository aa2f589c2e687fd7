// A tensor of a JSON body: nested lists of numbers, or base64 of its bytes, to a NamedTensor.
//
// Thread-safety: none; whoever reads the body owns one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/http/classify_body.h"

namespace torchd {

class JsonTensor {
 public:
  // Of all tensors of a body: what is left.
  explicit JsonTensor(int64_t* bytes_left) : bytes_left_(bytes_left) {}

  std::optional<std::string> name;
  std::optional<std::string> data_type;  // A name that there is; absent: float32.
  std::optional<Shape> shape;            // Absent: as the lists are nested.
  std::optional<std::string> base64;     // Instead of lists: little-endian, row-major.

  // The lists, as they come. An error is of the whole body: too deep, or too many.
  absl::Status OpenList();
  void CloseList();
  absl::Status AddInteger(int64_t value);
  absl::Status AddNumber(double value);
  int depth() const { return static_cast<int>(sizes_.size()); }
  bool has_lists() const { return has_lists_; }

  // Its bytes are then in `body.owned`. INVALID_ARGUMENT when this makes no tensor.
  absl::StatusOr<NamedTensor> Finish(ClassifyBody& body);

 private:
  absl::Status Count();
  absl::StatusOr<Shape> ShapeOfLists() const;
  absl::StatusOr<std::string> Bytes(DataType type) const;
  template <typename T>
  absl::StatusOr<std::string> IntegerBytes(DataType type) const;
  absl::StatusOr<std::string> FloatBytes() const;
  std::string Where() const;

  int64_t* const bytes_left_;
  bool has_lists_ = false;
  bool ragged_ = false;
  std::vector<int64_t> sizes_;    // Of the lists that are open: elements so far.
  Shape nested_;                  // By depth: size of the lists there; -1: none was closed yet.
  int leaf_depth_ = 0;            // Of the lists that hold numbers; 0: none yet.
  std::vector<int64_t> cells_;    // Integers, or the bits of doubles.
  std::vector<bool> fractional_;  // Which cells are doubles.
};

}  // namespace torchd
