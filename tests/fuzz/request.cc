// Any bytes as a ClassifyRequest: what passes the checks fits the model it asks for.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

#include "server/classify/check.h"
#include "server/rpc/wire.h"
#include "tests/unit/fakes/fake_model.h"

namespace {

using torchd::DataType;

// One model of tensors, one of pictures.
torchd::Servable MakeServable(bool pictures) {
  static torchd::ModelMetrics metrics;
  torchd::ModelConfig config;
  std::vector<torchd::TensorSpec> inputs = {{"x", DataType::kFloat32, {2, -1}},
                                            {"ids", DataType::kInt64, {3}}};
  if (pictures) {
    config.image.emplace().crop = 2;
    inputs = {torchd::ImageInput("image", *config.image)};
  }
  auto preprocessor = torchd::Preprocessor::Create(config, inputs, "", {});
  if (!preprocessor.ok()) std::abort();
  torchd::ModelSignature signature{inputs, {{"scores", DataType::kFloat32, {7}}}};
  return {"m",
          1,
          config,
          {},
          std::make_unique<torchd::FakeModel>(std::move(signature)),
          nullptr,
          *std::move(preprocessor),
          metrics};
}

void CheckRow(const torchd::RowInputs& row, const torchd::Servable& servable) {
  const auto& inputs = servable.model->signature().inputs;
  if (row.size() != inputs.size()) std::abort();
  for (size_t i = 0; i < row.size(); ++i) {
    const auto bytes = torchd::BytesOf(row[i].type, row[i].shape);
    if (!bytes || *bytes != row[i].bytes) std::abort();
    if (row[i].pixels == nullptr && row[i].type != inputs[i].type) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const torchd::Servable servables[] = {MakeServable(false), MakeServable(true)};
  torchd::v1::ClassifyRequest request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return 0;
  const torchd::ClassifyCall call = torchd::FromWire(request);
  const bool counted = torchd::CheckItemCount(call.items.size()).ok();
  for (const torchd::Servable& servable : servables) {
    const auto options = torchd::ChooseClasses(call, servable);
    if (options.ok() && (options->k < 1 || options->k > 7)) std::abort();
    if (!counted) continue;
    if (torchd::PreparedBytes(call.items, servable) < 0) std::abort();
    for (const torchd::ClassifyItem& item : call.items) {
      const auto* tensors = std::get_if<torchd::TensorItem>(&item);
      if (tensors == nullptr) continue;
      const auto row = torchd::MatchInputs(*tensors, servable);
      if (row.ok()) CheckRow(*row, servable);
    }
  }
  return 0;
}
