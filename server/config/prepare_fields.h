// The sections `image:` and `text:` of model.yaml. Only model_config.cc includes it.
#pragma once

#include "absl/status/status.h"
#include "server/config/model_config.h"
#include "server/config/yaml_fields.h"

namespace torchd {

absl::Status ReadImage(const YamlPlace& place, ImageConfig& image);
absl::Status ReadText(const YamlPlace& place, TextConfig& text);

}  // namespace torchd
