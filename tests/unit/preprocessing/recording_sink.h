// What a decoder gives, kept as it comes.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "server/preprocessing/image/decoders.h"

namespace torchd {

class RecordingSink final : public RowSink {
 public:
  absl::StatusOr<int64_t> Begin(const PictureShape& shape) override {
    shape_ = shape;
    return 0;
  }
  void Row(const uint8_t* rgb) override { rgb_.insert(rgb_.end(), rgb, rgb + 3 * shape_.width); }

  const PictureShape& shape() const { return shape_; }
  const std::vector<uint8_t>& rgb() const { return rgb_; }

 private:
  PictureShape shape_;
  std::vector<uint8_t> rgb_;
};

}  // namespace torchd
