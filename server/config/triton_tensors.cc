#include "server/config/triton_tensors.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "server/config/yaml_reader.h"

namespace torchd {
namespace {

absl::Status TakeSize(const TextPlace& place, std::vector<TritonTensor::Size>& sizes) {
  const std::optional<int64_t> size = IntegerOf(place.field);
  if (!size || (*size < 1 && *size != -1)) {
    return Wrong(place, "a whole number of at least 1, or -1 for any size");
  }
  if (sizes.size() > kDimensionsMax) {  // One more than a shape may have, for the batch dimension.
    return Wrong(place, absl::StrCat("at most ", kDimensionsMax + 1, " dims"));
  }
  sizes.push_back({*size, place.field.line});
  return absl::OkStatus();
}

constexpr TextRule<std::vector<TritonTensor::Size>> kReshapeRules[] = {
    {"shape", Often::kRepeated, TakeSize},
};

absl::Status TakeReshape(const TextPlace& place, TritonTensor& tensor) {
  tensor.reshape_line = place.field.line;
  return TakeMessage(place,
                     absl::Span<const TextRule<std::vector<TritonTensor::Size>>>(kReshapeRules),
                     tensor.reshape.emplace());
}

// Of Triton's model_config.proto, by number: protobuf's text takes either.
constexpr absl::string_view kFormats[] = {"FORMAT_NONE", "FORMAT_NHWC", "FORMAT_NCHW"};
constexpr absl::string_view kDataTypes[] = {
    "TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32",
    "TYPE_UINT64",  "TYPE_INT8", "TYPE_INT16", "TYPE_INT32",  "TYPE_INT64",
    "TYPE_FP16",    "TYPE_FP32", "TYPE_FP64",  "TYPE_STRING", "TYPE_BF16"};

// As if the value were spelled out where it is the number of one of `names`.
TextField Spelled(const TextField& field, absl::Span<const absl::string_view> names) {
  TextField spelled = field;
  const std::optional<int64_t> number = IntegerOf(field);
  if (!number || *number < 0 || *number >= static_cast<int64_t>(names.size())) return spelled;
  spelled.kind = TextField::Kind::kIdentifier;
  spelled.text = std::string(names[*number]);
  return spelled;
}

absl::Status TakeFormat(const TextPlace& written) {
  const TextField field = Spelled(written.field, kFormats);
  const TextPlace place = {field, written.path, written.not_honoured};
  using Entry = std::pair<absl::string_view, bool>;
  constexpr std::array<Entry, 3> kKnown = {Entry{"FORMAT_NONE", false}, Entry{"FORMAT_NHWC", true},
                                           Entry{"FORMAT_NCHW", true}};
  bool says_something = false;
  TORCHD_RETURN_IF_ERROR(TakeOneOf(place, kKnown, says_something));
  if (says_something) {
    place.not_honoured.Add(place.path, place.field.line,
                           absl::StrCat(place.field.text, " is a hint; dims say the shape"));
  }
  return absl::OkStatus();
}

absl::Status TakeInputType(const TextPlace& written, TritonTensor& input) {
  const TextField field = Spelled(written.field, kDataTypes);
  const TextPlace place = {field, written.path, written.not_honoured};
  using Entry = std::pair<absl::string_view, std::string>;
  const std::array<Entry, 4> known = {Entry{"TYPE_UINT8", "uint8"}, Entry{"TYPE_INT32", "int32"},
                                      Entry{"TYPE_INT64", "int64"}, Entry{"TYPE_FP32", "float32"}};
  return TakeOneOf(place, known, input.data_type);
}

absl::Status TakeOutputType(const TextPlace& written, TritonTensor& output) {
  const TextField field = Spelled(written.field, kDataTypes);
  const TextPlace place = {field, written.path, written.not_honoured};
  constexpr absl::string_view kTypes[] = {"TYPE_FP32",   "TYPE_FP16",  "TYPE_FP64",   "TYPE_BF16",
                                          "TYPE_BOOL",   "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32",
                                          "TYPE_UINT64", "TYPE_INT8",  "TYPE_INT16",  "TYPE_INT32",
                                          "TYPE_INT64",  "TYPE_STRING"};
  const bool known =
      place.field.kind == TextField::Kind::kIdentifier &&
      std::find(std::begin(kTypes), std::end(kTypes), place.field.text) != std::end(kTypes);
  if (!known) return Wrong(place, absl::StrCat("one of ", absl::StrJoin(kTypes, ", ")));
  output.data_type = place.field.text;
  if (output.data_type != "TYPE_FP32") {
    place.not_honoured.Add(place.path, place.field.line,
                           absl::StrCat(output.data_type, "; scores are answered as TYPE_FP32"));
  }
  return absl::OkStatus();
}

constexpr TextRule<TritonTensor> kInputRules[] = {
    {"name", Often::kOnce,
     [](const TextPlace& place, TritonTensor& input) { return TakeText(place, input.name); }},
    {"data_type", Often::kOnce, TakeInputType},
    {"format", Often::kOnce,
     [](const TextPlace& place, TritonTensor& /*input*/) { return TakeFormat(place); }},
    {"dims", Often::kRepeated,
     [](const TextPlace& place, TritonTensor& input) { return TakeSize(place, input.dims); }},
    {"reshape", Often::kOnce,
     [](const TextPlace& place, TritonTensor& input) { return TakeReshape(place, input); }},
    {"is_shape_tensor", Often::kOnce, nullptr, "the model gets it as any other input"},
    {"allow_ragged_batch", Often::kOnce, nullptr, "only rows of the same shape run together"},
    {"optional", Often::kOnce, nullptr, "every request has to bring every input"},
    {"is_non_linear_format_io", Often::kOnce, nullptr, "the model gets it as any other input"},
};

constexpr TextRule<TritonTensor> kOutputRules[] = {
    {"name", Often::kOnce,
     [](const TextPlace& place, TritonTensor& output) { return TakeText(place, output.name); }},
    {"data_type", Often::kOnce, TakeOutputType},
    {"dims", Often::kRepeated,
     [](const TextPlace& place, TritonTensor& output) { return TakeSize(place, output.dims); }},
    {"reshape", Often::kOnce,
     [](const TextPlace& place, TritonTensor& output) { return TakeReshape(place, output); }},
    {"label_filename", Often::kOnce,
     [](const TextPlace& place, TritonTensor& output) {
       return TakeFileName(place, output.label_filename);
     }},
    {"is_shape_tensor", Often::kOnce, nullptr, "it is answered as any other output"},
    {"is_non_linear_format_io", Often::kOnce, nullptr, "it is answered as any other output"},
};

absl::Status TakeTensor(const TextPlace& place, absl::Span<const TextRule<TritonTensor>> rules,
                        std::vector<TritonTensor>& tensors) {
  if (tensors.size() == kInputsMax) {
    return PbtxtError(place.field.line,
                      absl::StrCat(place.path, " is one more than the ", kInputsMax, " allowed"));
  }
  TritonTensor tensor;
  tensor.path = place.path;
  tensor.line = place.field.line;
  TORCHD_RETURN_IF_ERROR(TakeMessage(place, rules, tensor));
  const auto missing = [&](absl::string_view what) {
    return PbtxtError(tensor.line, absl::StrCat(tensor.path, ".", what, " is missing"));
  };
  if (tensor.name.empty()) return missing("name");
  if (tensor.data_type.empty()) return missing("data_type");
  if (tensor.dims.empty()) return missing("dims");
  for (const TritonTensor& other : tensors) {
    if (other.name != tensor.name) continue;
    return PbtxtError(tensor.line, absl::StrCat(tensor.path, ".name is ", Quoted(tensor.name),
                                                ", expected a name that ", other.path, " has not"));
  }
  tensors.push_back(std::move(tensor));
  return absl::OkStatus();
}

// --- What becomes of them. ---

// The <index> of `<name>__<index>`; nullopt for other names.
std::optional<size_t> IndexOf(absl::string_view name) {
  const size_t underscores = name.find("__");  // The first, as Triton's backend has it.
  if (underscores == absl::string_view::npos) return std::nullopt;
  const absl::string_view digits = name.substr(underscores + 2);
  const bool all_digits = std::all_of(digits.begin(), digits.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c));
  });
  uint32_t index = 0;
  if (!all_digits || !absl::SimpleAtoi(digits, &index)) return std::nullopt;
  return index;
}

// By index where all have one, else as they stand. Equal and too large indices are refused.
absl::Status SortByIndex(size_t indices, std::vector<TritonTensor>& tensors) {
  if (!HaveIndices(tensors)) return absl::OkStatus();
  std::set<size_t> seen;
  for (const TritonTensor& tensor : tensors) {
    const size_t index = *IndexOf(tensor.name);
    if (index < indices && seen.insert(index).second) continue;
    return PbtxtError(tensor.line,
                      absl::StrCat(tensor.path, ".name is ", Quoted(tensor.name),
                                   ", expected each index of 0..", indices - 1, " at most once"));
  }
  std::sort(tensors.begin(), tensors.end(), [](const TritonTensor& a, const TritonTensor& b) {
    return *IndexOf(a.name) < *IndexOf(b.name);
  });
  return absl::OkStatus();
}

// The shape of one row as the model has it: after an input's reshape, before an output's.
absl::StatusOr<std::vector<int64_t>> ShapeOf(const TritonTensor& tensor, bool dims_have_batch) {
  const std::vector<TritonTensor::Size>& sizes = tensor.reshape ? *tensor.reshape : tensor.dims;
  const absl::string_view field = tensor.reshape ? ".reshape.shape" : ".dims";
  const auto wrong = [&](size_t i, absl::string_view expected) {
    return PbtxtError(sizes[i].line, absl::StrCat(tensor.path, field, "[", i, "] is ",
                                                  sizes[i].value, ", expected ", expected));
  };
  if (dims_have_batch && sizes.empty()) {
    return PbtxtError(tensor.reshape_line,
                      absl::StrCat(tensor.path, ".reshape has no batch dimension"));
  }
  if (dims_have_batch && sizes[0].value != 1 && sizes[0].value != -1) {
    return wrong(0, "1 or -1: with max_batch_size 0 or none, dims begin with the batch dimension");
  }
  std::vector<int64_t> shape;
  int64_t elements = 1;
  for (size_t i = dims_have_batch ? 1 : 0; i < sizes.size(); ++i) {
    const int64_t size = sizes[i].value;
    if (shape.size() == kDimensionsMax) {
      return wrong(i, absl::StrCat("at most ", kDimensionsMax, " without the batch dimension"));
    }
    shape.push_back(size);
    if (size == -1) continue;
    if (size > kElementsMax / elements) {
      return wrong(i, absl::StrCat("dims of at most ", kElementsMax, " elements in all"));
    }
    elements *= size;
  }
  return shape;
}

// Clients see the model's own shape. Where dims show them the same, with or without the batch
// dimension, a reshape changes nothing.
void NoteReshape(const TritonTensor& tensor, const std::vector<int64_t>& shape,
                 absl::string_view clients, NotHonoured& not_honoured) {
  if (!tensor.reshape) return;
  std::vector<int64_t> dims;
  for (const TritonTensor::Size& size : tensor.dims) dims.push_back(size.value);
  const bool batch_first = !dims.empty() && (dims[0] == 1 || dims[0] == -1);
  if (dims == shape) return;
  if (batch_first && std::equal(dims.begin() + 1, dims.end(), shape.begin(), shape.end())) return;
  not_honoured.Add(
      tensor.path + ".reshape", tensor.reshape_line,
      absl::StrCat(clients, " the model's own shape, [", absl::StrJoin(shape, ","), "]"));
}

}  // namespace

absl::Status TakeInput(const TextPlace& place, std::vector<TritonTensor>& inputs) {
  return TakeTensor(place, kInputRules, inputs);
}

absl::Status TakeOutput(const TextPlace& place, std::vector<TritonTensor>& outputs) {
  return TakeTensor(place, kOutputRules, outputs);
}

bool HaveIndices(const std::vector<TritonTensor>& tensors) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [](const TritonTensor& tensor) { return IndexOf(tensor.name).has_value(); });
}

absl::StatusOr<std::vector<TensorConfig>> InputsOf(std::vector<TritonTensor> tensors,
                                                   bool dims_have_batch,
                                                   NotHonoured& not_honoured) {
  TORCHD_RETURN_IF_ERROR(SortByIndex(tensors.size(), tensors));
  std::vector<TensorConfig> inputs;
  for (const TritonTensor& tensor : tensors) {
    TORCHD_ASSIGN_OR_RETURN(std::vector<int64_t> shape, ShapeOf(tensor, dims_have_batch));
    NoteReshape(tensor, shape, "clients send", not_honoured);
    inputs.push_back({tensor.name, tensor.data_type, std::move(shape)});
  }
  return inputs;
}

absl::Status TakeOutputsOver(std::vector<TritonTensor> tensors, bool dims_have_batch,
                             NotHonoured& not_honoured, ModelConfig& config) {
  TORCHD_RETURN_IF_ERROR(SortByIndex(kInputsMax, tensors));
  const bool indexed = HaveIndices(tensors);
  for (const TritonTensor& tensor : tensors) {
    // A model may have outputs that its owner does not name.
    if (indexed) config.output_names.resize(*IndexOf(tensor.name));
    const bool first = config.output_names.empty();
    config.output_names.push_back(tensor.name);
    // What is wrong with it costs the comparison with the model, no more: nothing depends on it.
    const auto shape = ShapeOf(tensor, dims_have_batch);
    if (shape.ok()) {
      NoteReshape(tensor, *shape, "clients get", not_honoured);
      config.output_shapes[tensor.name] = *shape;
    }
    if (tensor.label_filename.empty()) continue;
    if (first) {
      config.labels = tensor.label_filename;
    } else {
      not_honoured.Add(tensor.path + ".label_filename", tensor.line,
                       "classes and labels are those of the model's first output");
    }
  }
  return absl::OkStatus();
}

}  // namespace torchd
