#include "bench/load_payload.h"

#include <cstring>
#include <random>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace torchd::bench {
namespace {

constexpr int64_t kTensorBytesMax = 64 * 1024 * 1024;

struct ElementType {
  const char* name;  // As ListModels says it.
  v1::DataType wire;
  int64_t bytes;
};

constexpr ElementType kElementTypes[] = {
    {"uint8", v1::DATA_TYPE_UINT8, 1},
    {"int32", v1::DATA_TYPE_INT32, 4},
    {"int64", v1::DATA_TYPE_INT64, 8},
    {"float32", v1::DATA_TYPE_FLOAT32, 4},
};

const ElementType* FindType(const std::string& name) {
  for (const ElementType& type : kElementTypes) {
    if (name == type.name) return &type;
  }
  return nullptr;
}

// What `element` is on the wire; whole numbers are little-endian, so a prefix of the int64 will do.
void Append(const ElementType& type, double element, std::string& bytes) {
  char buffer[sizeof(int64_t)];
  if (type.wire == v1::DATA_TYPE_FLOAT32) {
    const float value = static_cast<float>(element);
    std::memcpy(buffer, &value, sizeof(value));
  } else {
    const int64_t value = static_cast<int64_t>(element);
    std::memcpy(buffer, &value, sizeof(value));
  }
  bytes.append(buffer, type.bytes);
}

absl::Status AddTensor(const v1::TensorDescription& input, const Fill& fill,
                       std::mt19937_64& random, v1::TensorInput& tensors) {
  const ElementType* type = FindType(input.data_type());
  if (type == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("input ", input.name(), " is of the unknown type ", input.data_type()));
  }
  v1::Tensor& tensor = *tensors.add_tensors();
  tensor.set_name(input.name());
  tensor.set_data_type(type->wire);
  int64_t elements = 1;
  for (const int64_t size : input.shape()) {
    tensor.add_shape(size < 0 ? fill.length : size);
    const int64_t added = tensor.shape(tensor.shape_size() - 1);
    if (added > kTensorBytesMax / type->bytes / elements) {
      return absl::InvalidArgumentError(absl::StrCat("input ", input.name(),
                                                     " would have more than ", kTensorBytesMax,
                                                     " bytes; a smaller --length may help"));
    }
    elements *= added;
  }
  const bool real = type->wire == v1::DATA_TYPE_FLOAT32;
  std::uniform_real_distribution<double> value(real ? -1 : 0, real ? 1 : 100);
  std::string& bytes = *tensor.mutable_data();
  bytes.reserve(elements * type->bytes);
  for (int64_t i = 0; i < elements; ++i) Append(*type, fill.random ? value(random) : 1, bytes);
  return absl::OkStatus();
}

const v1::ModelVersion* HighestReady(const v1::ListModelsResponse& listing) {
  const v1::ModelVersion* highest = nullptr;
  for (const v1::ModelVersion& version : listing.models()) {
    if (version.state() != v1::VERSION_STATE_READY) continue;
    if (highest == nullptr || version.version() > highest->version()) highest = &version;
  }
  return highest;
}

}  // namespace

absl::StatusOr<v1::ClassifyRequest> RequestFor(const std::string& model,
                                               const v1::ListModelsResponse& listing,
                                               const Fill& fill) {
  const v1::ModelVersion* version = HighestReady(listing);
  if (version == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("no version of ", model, " is READY"));
  }
  if (version->inputs().empty()) {
    return absl::FailedPreconditionError(absl::StrCat(model, " takes no tensors"));
  }
  v1::ClassifyRequest request;
  request.set_model(model);
  v1::TensorInput& tensors = *request.add_items()->mutable_tensors();
  std::mt19937_64 random(fill.seed);
  for (const v1::TensorDescription& input : version->inputs()) {
    absl::Status added = AddTensor(input, fill, random, tensors);
    if (!added.ok()) return added;
  }
  return request;
}

v1::ClassifyRequest EchoRequest(size_t bytes) {
  v1::ClassifyRequest request;
  v1::Tensor& tensor = *request.add_items()->mutable_tensors()->add_tensors();
  tensor.set_data_type(v1::DATA_TYPE_UINT8);
  tensor.add_shape(static_cast<int64_t>(bytes));
  tensor.set_data(std::string(bytes, '\1'));
  return request;
}

}  // namespace torchd::bench
