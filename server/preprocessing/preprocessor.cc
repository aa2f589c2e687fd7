#include "server/preprocessing/preprocessor.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"

namespace torchd {
namespace {

constexpr char kIds[] = "input_ids";
constexpr char kMask[] = "attention_mask";
constexpr char kTypes[] = "token_type_ids";

absl::Status CheckImageInputs(const ImageConfig& image, const std::vector<TensorSpec>& inputs) {
  if (inputs.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("image: needs a model with one input, this one has ", inputs.size()));
  }
  const TensorSpec& input = inputs[0];
  const TensorSpec made = ImageInput(input.name, image);
  bool fits = input.type == made.type && input.shape.size() == made.shape.size();
  for (size_t i = 0; fits && i < made.shape.size(); ++i) {
    fits = input.shape[i] == -1 || input.shape[i] == made.shape[i];
  }
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("image: makes ", Name(made.type), " ", ShapeText(made.shape), ", but input '",
                   input.name, "' takes ", Name(input.type), " ", ShapeText(input.shape)));
}

absl::Status CheckTextInputs(const std::vector<TensorSpec>& inputs) {
  for (const TensorSpec& input : inputs) {
    if (input.name != kIds && input.name != kMask && input.name != kTypes) {
      return absl::InvalidArgumentError(absl::StrCat("text: cannot fill input '", input.name,
                                                     "'; it knows ", kIds, ", ", kMask, " and ",
                                                     kTypes));
    }
    if (input.type != DataType::kInt64 && input.type != DataType::kInt32) {
      return absl::InvalidArgumentError(absl::StrCat("text: fills int64 or int32, but input '",
                                                     input.name, "' takes ", Name(input.type)));
    }
    if (input.shape.size() != 1 || input.shape != inputs[0].shape) {
      return absl::InvalidArgumentError(
          absl::StrCat("text: fills inputs of one shape, [-1] or [N], but '", input.name, "' has ",
                       ShapeText(input.shape)));
    }
  }
  return absl::OkStatus();
}

bool HasMask(const std::vector<TensorSpec>& inputs) {
  return std::any_of(inputs.begin(), inputs.end(),
                     [](const TensorSpec& input) { return input.name == kMask; });
}

// A model of one length, as packages can be, takes every text at that.
absl::Status FixLength(const std::vector<TensorSpec>& inputs, TextConfig& text) {
  const int64_t length = inputs.empty() ? -1 : inputs[0].shape[0];
  if (length == -1) return absl::OkStatus();
  if (length < 2 || !HasMask(inputs)) {
    return absl::InvalidArgumentError(absl::StrCat("text: inputs of shape [", length,
                                                   "]; expected 2 tokens or more, and an ", kMask,
                                                   " that tells the padding from the text"));
  }
  text.tokens_max = static_cast<int>(length);
  text.lengths = {text.tokens_max};
  return absl::OkStatus();
}

absl::StatusOr<WordPiece> MakeWordPiece(const TextConfig& text, int tokens_max,
                                        absl::string_view vocabulary) {
  if (absl::EndsWith(text.vocabulary, ".json")) {
    return WordPiece::FromTokenizerJson(std::string(vocabulary), text.lowercase, tokens_max);
  }
  return WordPiece::FromVocabulary(vocabulary, {text.lowercase.value_or(true), tokens_max});
}

template <typename Integer>
void Fill(Tensor& tensor, const std::vector<int64_t>& values) {
  tensor.bytes.resize(values.size() * sizeof(Integer));
  for (size_t i = 0; i < values.size(); ++i) {
    const auto value = static_cast<Integer>(values[i]);
    std::memcpy(tensor.bytes.data() + i * sizeof(Integer), &value, sizeof(Integer));
  }
}

}  // namespace

absl::StatusOr<Preprocessor> Preprocessor::Create(const ModelConfig& config,
                                                  const std::vector<TensorSpec>& inputs,
                                                  absl::string_view vocabulary,
                                                  ImageLimits limits) {
  Preprocessor preprocessor;
  preprocessor.config_ = config;
  preprocessor.inputs_ = inputs;
  preprocessor.limits_ = limits;
  if (config.image) {
    TORCHD_RETURN_IF_ERROR(CheckImageInputs(*config.image, inputs));
    preprocessor.pixels_ = std::make_shared<const Pixels>(*config.image);
  }
  if (config.text) {
    TORCHD_RETURN_IF_ERROR(CheckTextInputs(inputs));
    TextConfig& text = *preprocessor.config_.text;
    const int tokens_max = text.tokens_max;
    TORCHD_RETURN_IF_ERROR(FixLength(inputs, text));
    preprocessor.tokens_max_ = std::min(tokens_max, text.tokens_max);
    TORCHD_ASSIGN_OR_RETURN(preprocessor.word_piece_,
                            MakeWordPiece(text, preprocessor.tokens_max_, vocabulary));
  }
  return preprocessor;
}

absl::StatusOr<std::vector<Tensor>> Preprocessor::FromImage(absl::string_view bytes) const {
  std::vector<Tensor> tensors(1);
  TORCHD_ASSIGN_OR_RETURN(tensors[0], PrepareImage(bytes, limits_, *config_.image, *pixels_));
  return tensors;
}

size_t Preprocessor::PaddedLength(size_t length) const {
  const std::vector<int>& lengths = config_.text->lengths;
  const auto next = std::lower_bound(lengths.begin(), lengths.end(), static_cast<int>(length));
  if (!HasMask(inputs_) || next == lengths.end()) return length;
  return std::min<size_t>(
      static_cast<size_t>(*next),
      static_cast<size_t>(std::max<int>(config_.text->tokens_max, static_cast<int>(length))));
}

std::vector<int> Preprocessor::lengths() const {
  std::vector<int> lengths;
  if (!config_.text || !HasMask(inputs_)) return lengths;
  for (const int length : config_.text->lengths) {
    lengths.push_back(std::min(length, config_.text->tokens_max));
    if (length >= config_.text->tokens_max) break;
  }
  return lengths;
}

absl::StatusOr<std::vector<Tensor>> Preprocessor::FromText(
    absl::string_view text, std::optional<absl::string_view> pair) const {
  WordPiece::Pair encoded;
  if (pair && !pair->empty()) {  // BertTokenizer(text, "") makes one text of them, too.
    TORCHD_ASSIGN_OR_RETURN(encoded, word_piece_->EncodePair(text, *pair));
  } else {
    TORCHD_ASSIGN_OR_RETURN(encoded.ids, word_piece_->Encode(text));
    encoded.second = encoded.ids.size();
  }
  std::vector<int64_t>& ids = encoded.ids;
  std::vector<int64_t> mask(ids.size(), 1);
  std::vector<int64_t> types(encoded.second, 0);
  types.resize(ids.size(), 1);
  const size_t length = PaddedLength(ids.size());
  ids.resize(length, word_piece_->padding());
  mask.resize(length, 0);
  types.resize(length, 0);
  std::vector<Tensor> tensors;
  for (const TensorSpec& input : inputs_) {
    Tensor tensor;
    tensor.type = input.type;
    tensor.shape = {static_cast<int64_t>(length)};
    const auto& values = input.name == kIds ? ids : input.name == kMask ? mask : types;
    if (input.type == DataType::kInt64) {
      Fill<int64_t>(tensor, values);
    } else {
      Fill<int32_t>(tensor, values);
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace torchd
