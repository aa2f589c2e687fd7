// What becomes of an image or a text before it is a model's input, and of the scores after, in the
// words in which clients are told it: ListModels and REST say the same.
//
// Thread-safety: functions without state.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/config/model_config.h"
#include "server/preprocessing/preprocessor.h"

namespace torchd {

// proto/torchd/v1/admin.proto says what each of them is, under the same name.
struct ImageFacts {
  std::vector<std::string> formats;
  std::string preset;
  int resize = 0;
  int crop = 0;
  std::string filter;
  bool antialias = false;
  std::string layout;
  std::string data_type;
  std::optional<float> scale;  // This and what follows: of numbers, not of levels.
  std::vector<float> mean;
  std::vector<float> std;
};

struct TextFacts {
  int tokens_max = 0;
  std::vector<int> lengths;
  bool lowercase = false;
  int bytes_max = 0;
};

ImageFacts FactsOf(const ImageConfig& image);

// Requires: preprocessor.takes_text().
TextFacts TextFactsOf(const Preprocessor& preprocessor);

// "softmax", as model.yaml and requests call it.
const char* Name(Activation activation);
std::optional<Activation> ActivationByName(absl::string_view name);

}  // namespace torchd
