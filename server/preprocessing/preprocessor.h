// One model's way from what a client has (a photo, a sentence) to the tensors its inputs want.
//
// Thread-safety: const methods from any thread; they take milliseconds of CPU, so they belong on
// the preprocessing pool.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/config/model_config.h"
#include "server/inference/tensor.h"
#include "server/preprocessing/image/image.h"
#include "server/preprocessing/text/word_piece.h"

namespace torchd {

class Preprocessor {
 public:
  // `inputs`: what the model takes. `vocabulary`: contents of the vocabulary file, used with
  // `config.text` only. INVALID_ARGUMENT when the configuration does not fit the inputs.
  static absl::StatusOr<Preprocessor> Create(const ModelConfig& config,
                                             const std::vector<TensorSpec>& inputs,
                                             absl::string_view vocabulary, ImageLimits limits);

  bool takes_image() const { return config_.image.has_value(); }
  bool takes_text() const { return word_piece_.has_value(); }
  // Whether upper and lower case of a text are one. Requires: takes_text().
  bool lowercase() const { return word_piece_->lowercase(); }

  // Longer texts are cut. Requires: takes_text().
  int tokens_max() const { return tokens_max_; }
  // What texts are padded to, ascending; those beyond the last are not. Empty: none is.
  std::vector<int> lengths() const;

  // What makes numbers of a picture's levels; null where the model takes none, or takes the levels.
  const Pixels* pixels() const {
    return takes_image() && !config_.image->as_levels ? pixels_.get() : nullptr;
  }

  // One tensor per input of the model, without the batch dimension.
  // INVALID_ARGUMENT when the bytes are no picture. Requires: takes_image().
  absl::StatusOr<std::vector<Tensor>> FromImage(absl::string_view bytes) const;

  // `pair`: a second text, where two are one input; an empty one is none. INVALID_ARGUMENT when one
  // is no UTF-8.
  // Requires: takes_text().
  absl::StatusOr<std::vector<Tensor>> FromText(
      absl::string_view text, std::optional<absl::string_view> pair = std::nullopt) const;

 private:
  Preprocessor() = default;

  // Of a text of `length` tokens, once padded.
  size_t PaddedLength(size_t length) const;

  ModelConfig config_;
  std::vector<TensorSpec> inputs_;
  ImageLimits limits_;
  int tokens_max_ = 0;
  std::shared_ptr<const Pixels> pixels_;  // Stays where it is: rows that wait point to it.
  std::optional<WordPiece> word_piece_;
};

}  // namespace torchd
