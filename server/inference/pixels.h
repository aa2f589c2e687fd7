// What a model that takes photos wants in place of their levels, 0..255.
//
// Clients may send levels instead of numbers: a quarter of the bytes. They are turned into numbers
// where the model runs.
//
// Thread-safety: functions without state; const methods from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "server/config/model_config.h"
#include "server/inference/tensor.h"

namespace torchd {

// The input that `image:` prepares.
TensorSpec ImageInput(std::string name, const ImageConfig& config);

class Pixels {
 public:
  explicit Pixels(const ImageConfig& config);

  size_t side() const { return side_; }
  bool planar() const { return planar_; }  // [3,side,side], else [side,side,3].

  // The number for a level of channel 0..2, in the float arithmetic of ToTensor and Normalize.
  float Value(size_t channel, uint8_t level) const { return values_[channel][level]; }

  // Whether these are levels of such a picture, in either layout.
  bool AreLevels(const TensorView& view) const;

  // To the model's layout. `to`: room for 3 * side() * side(). Requires: AreLevels(levels).
  void Normalise(const TensorView& levels, float* to) const;

 private:
  size_t side_;
  bool planar_;
  std::array<std::array<float, 256>, 3> values_;
};

}  // namespace torchd
