#include "server/trial/tensor_codec.h"

#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/trial/plain_text.h"

namespace torchd {
namespace {

constexpr uint32_t kMagic = 0x31534e54;  // "TNS1"
constexpr int kTypeNameBytesMax = 32;

// Both ends are the same executable on the same machine, so numbers travel as they lie in memory.
class Writer {
 public:
  template <typename Number>
  void Put(Number number) {
    bytes_.append(reinterpret_cast<const char*>(&number), sizeof number);
  }
  void PutText(absl::string_view text) {
    Put(static_cast<uint32_t>(text.size()));
    bytes_.append(text.data(), text.size());
  }
  // A type by its name: a number would be checked against a list that somebody forgets.
  void PutTypeAndShape(DataType type, const Shape& shape) {
    PutText(Name(type));
    Put(static_cast<uint32_t>(shape.size()));
    for (const int64_t size : shape) Put(size);
  }
  void PutSpecs(const std::vector<TensorSpec>& specs) {
    Put(static_cast<uint32_t>(specs.size()));
    for (const TensorSpec& spec : specs) {
      PutText(spec.name);
      PutTypeAndShape(spec.type, spec.shape);
    }
  }
  void PutTensor(const Tensor& tensor) {
    PutTypeAndShape(tensor.type, tensor.shape);
    bytes_.append(tensor.bytes.data(), tensor.bytes.size());
  }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class Reader {
 public:
  explicit Reader(absl::string_view bytes) : size_(bytes.size()), left_(bytes) {}

  template <typename Number>
  absl::StatusOr<Number> Get(const char* what) {
    TORCHD_ASSIGN_OR_RETURN(const absl::string_view bytes, GetBytes(sizeof(Number), what));
    Number number{};
    std::memcpy(&number, bytes.data(), sizeof number);
    return number;
  }

  absl::StatusOr<absl::string_view> GetBytes(size_t count, const char* what) {
    if (left_.size() < count) return Wrong(what, "the bytes end");
    const absl::string_view bytes = left_.substr(0, count);
    left_.remove_prefix(count);
    return bytes;
  }

  absl::StatusOr<int> GetCount(int most, const char* what) {
    TORCHD_ASSIGN_OR_RETURN(const uint32_t count, Get<uint32_t>(what));
    if (count > static_cast<uint32_t>(most)) {
      return Wrong(what, absl::StrCat(count, " is more than ", most));
    }
    return static_cast<int>(count);
  }

  absl::StatusOr<std::string> GetText(int bytes_max, const char* what) {
    TORCHD_ASSIGN_OR_RETURN(const int count, GetCount(bytes_max, what));
    TORCHD_ASSIGN_OR_RETURN(const absl::string_view text,
                            GetBytes(static_cast<size_t>(count), what));
    if (PlainText(text) != text) return Wrong(what, "not UTF-8 without control characters");
    return std::string(text);
  }

  absl::StatusOr<DataType> GetType() {
    TORCHD_ASSIGN_OR_RETURN(const std::string name, GetText(kTypeNameBytesMax, "data type"));
    const std::optional<DataType> type = DataTypeByName(name);
    if (!type) return Wrong("data type", absl::StrCat("unknown type '", name, "'"));
    return *type;
  }

  absl::StatusOr<Shape> GetShape(int64_t size_least) {
    TORCHD_ASSIGN_OR_RETURN(const int rank, GetCount(kCodecRankMax, "rank"));
    Shape shape;
    for (int i = 0; i < rank; ++i) {
      TORCHD_ASSIGN_OR_RETURN(const int64_t size, Get<int64_t>("shape"));
      if (size < size_least) return Wrong("shape", absl::StrCat(size, " is no size"));
      shape.push_back(size);
    }
    return shape;
  }

  absl::StatusOr<std::vector<TensorSpec>> GetSpecs(const char* what) {
    TORCHD_ASSIGN_OR_RETURN(const int count, GetCount(kCodecItemsMax, what));
    std::vector<TensorSpec> specs;
    for (int i = 0; i < count; ++i) {
      TensorSpec spec;
      TORCHD_ASSIGN_OR_RETURN(spec.name, GetText(kCodecNameBytesMax, "name"));
      TORCHD_ASSIGN_OR_RETURN(spec.type, GetType());
      TORCHD_ASSIGN_OR_RETURN(spec.shape, GetShape(-1));
      specs.push_back(std::move(spec));
    }
    return specs;
  }

  absl::StatusOr<Tensor> GetTensor() {
    Tensor tensor;
    TORCHD_ASSIGN_OR_RETURN(tensor.type, GetType());
    TORCHD_ASSIGN_OR_RETURN(tensor.shape, GetShape(0));
    const std::optional<size_t> count = BytesOf(tensor.type, tensor.shape);
    if (!count) return Wrong("tensor", absl::StrCat("too large: ", ShapeText(tensor.shape)));
    TORCHD_ASSIGN_OR_RETURN(const absl::string_view bytes, GetBytes(*count, "tensor"));
    tensor.bytes.assign(bytes.begin(), bytes.end());
    return tensor;
  }

  absl::Status CheckAtEnd() const {
    return left_.empty() ? absl::OkStatus()
                         : Wrong("end", absl::StrCat(left_.size(), " bytes left"));
  }

  absl::Status Wrong(const char* what, absl::string_view reason) const {
    return absl::InvalidArgumentError(absl::StrCat("encoded tensors, ", what, " before byte ",
                                                   size_ - left_.size(), ": ", reason));
  }

 private:
  const size_t size_;
  absl::string_view left_;
};

}  // namespace

std::string EncodeTensors(const ModelSignature& signature, absl::Span<const Tensor> tensors) {
  Writer writer;
  writer.Put(kMagic);
  writer.PutSpecs(signature.inputs);
  writer.PutSpecs(signature.outputs);
  writer.Put(static_cast<uint32_t>(tensors.size()));
  for (const Tensor& tensor : tensors) writer.PutTensor(tensor);
  return writer.Take();
}

absl::StatusOr<DecodedTensors> DecodeTensors(absl::string_view bytes) {
  Reader reader(bytes);
  TORCHD_ASSIGN_OR_RETURN(const uint32_t magic, reader.Get<uint32_t>("start"));
  if (magic != kMagic) return reader.Wrong("start", "not encoded tensors");
  DecodedTensors decoded;
  TORCHD_ASSIGN_OR_RETURN(decoded.signature.inputs, reader.GetSpecs("inputs"));
  TORCHD_ASSIGN_OR_RETURN(decoded.signature.outputs, reader.GetSpecs("outputs"));
  TORCHD_ASSIGN_OR_RETURN(const int count, reader.GetCount(kCodecItemsMax, "tensors"));
  for (int i = 0; i < count; ++i) {
    TORCHD_ASSIGN_OR_RETURN(Tensor tensor, reader.GetTensor());
    decoded.tensors.push_back(std::move(tensor));
  }
  TORCHD_RETURN_IF_ERROR(reader.CheckAtEnd());
  return decoded;
}

}  // namespace torchd
