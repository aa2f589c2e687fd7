#include "client/explain.h"

#include <algorithm>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "client/convert.h"
#include "client/table.h"

namespace torchd {
namespace {

bool Takes(const v1::ModelVersion& model, absl::string_view kind) {
  return std::any_of(model.takes().begin(), model.takes().end(),
                     [kind](const std::string& one) { return kind == one; });
}

template <typename Numbers>
std::string List(const Numbers& numbers, absl::string_view separator = ", ") {
  return absl::StrJoin(numbers, separator);
}

std::string Floats(const google::protobuf::RepeatedField<float>& numbers) {
  return absl::StrJoin(numbers, " ", [](std::string* out, float number) {
    absl::StrAppend(out, absl::StrFormat("%g", number));
  });
}

// How `torchctl classify` names the model.
std::string Classify(const v1::ModelVersion& model) {
  return absl::StrCat("torchctl classify --model ", OneLine(model.name()));
}

bool IsLevels(const v1::ImageInput& image) { return image.data_type() == "uint8"; }

std::string PixelShape(const v1::ImageInput& image, bool channels_last) {
  const int side = image.crop();
  return channels_last ? absl::StrCat("[", side, ",", side, ",3]")
                       : absl::StrCat("[3,", side, ",", side, "]");
}

std::string ImageText(const v1::ModelVersion& model) {
  const v1::ImageInput& image = model.image();
  std::string text = absl::StrCat("Image: ", List(image.formats()), "\n");
  absl::StrAppend(&text, "  1. resized: the shorter side to ", image.resize(), " pixels (",
                  image.filter(), image.antialias() ? ", antialiased" : "", ")\n");
  absl::StrAppend(&text, "  2. the middle ", image.crop(), "x", image.crop(), " cut out\n");
  if (IsLevels(image)) {
    absl::StrAppend(&text, "  3. the levels of red, green, blue as they are, 0..255\n");
  } else {
    absl::StrAppend(
        &text, "  3. each of red, green, blue in 0..", absl::StrFormat("%g", 255 * image.scale()),
        ", less ", Floats(image.mean()), ", divided by ", Floats(image.std()),
        image.preset().empty() ? "" : absl::StrCat(" (preset ", image.preset(), ")"), "\n");
  }
  absl::StrAppend(&text, "  4. to the model as ", image.data_type(), " ",
                  PixelShape(image, image.layout() == "hwc"), "\n");
  return absl::StrCat(text, "  $ ", Classify(model), " photo.jpg\n");
}

std::string TextText(const v1::ModelVersion& model) {
  const v1::TextInput& input = model.text();
  std::string text = absl::StrCat("Text: UTF-8, at most ", input.bytes_max(), " bytes\n");
  absl::StrAppend(&text, "  1. ", input.lowercase() ? "lower-cased, without accents, " : "",
                  "split into word pieces\n");
  absl::StrAppend(&text, "  2. cut after ", input.tokens_max(), " tokens\n");
  if (!input.lengths().empty()) {
    absl::StrAppend(&text, "  3. padded to the next of ", List(input.lengths()), " tokens\n");
  }
  absl::StrAppend(&text, "  $ ", Classify(model), " --text \"I liked it\"\n");
  constexpr int kPairFrame = 3;  // Tokens that stand around two texts.
  if (input.tokens_max() < kPairFrame) return text;
  return absl::StrCat(text, "  or two texts as one input, of which the longer is cut first\n  $ ",
                      Classify(model), " --text \"It rains\" --pair \"The street is wet\"\n");
}

std::string ElementBytes(const v1::TensorDescription& tensor) {
  const bool open = std::any_of(tensor.shape().begin(), tensor.shape().end(),
                                [](int64_t size) { return size < 0; });
  if (open) return "any size where there is a ?";
  int64_t bytes = tensor.data_type() == "uint8" ? 1 : tensor.data_type() == "int64" ? 8 : 4;
  for (const int64_t size : tensor.shape()) bytes *= size;
  return absl::StrCat(bytes, " bytes");
}

std::string Shape(const v1::TensorDescription& tensor) {
  return absl::StrCat("[",
                      absl::StrJoin(tensor.shape(), ",",
                                    [](std::string* out, int64_t size) {
                                      absl::StrAppend(out, size < 0 ? "?" : absl::StrCat(size));
                                    }),
                      "]");
}

std::string TensorsText(const v1::ModelVersion& model) {
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> arrays;
  for (const v1::TensorDescription& input : model.inputs()) {
    rows.push_back({OneLine(input.name()), input.data_type(), Shape(input), ElementBytes(input)});
    std::string sizes = absl::StrJoin(input.shape(), ", ", [](std::string* out, int64_t size) {
      absl::StrAppend(out, size < 0 ? 1 : size);  // Any will do.
    });
    // A tuple of one has a comma.
    if (input.shape_size() == 1) sizes += ",";
    arrays.push_back(absl::StrCat("\"", OneLine(input.name()), "\": numpy.zeros((", sizes, "), \"",
                                  input.data_type(), "\")"));
  }
  std::string levels;
  if (model.has_image() && !IsLevels(model.image())) {
    levels = absl::StrCat("  or uint8 ", PixelShape(model.image(), true), " or ",
                          PixelShape(model.image(), false),
                          ", a picture that is cut already: from step 3 on\n");
  }
  return absl::StrCat("Tensors, one item of:\n", Columns(rows, "  "), levels,
                      "  >>> torchd.Client().classify({", absl::StrJoin(arrays, ", "),
                      "}, model=\"", OneLine(model.name()), "\")\n");
}

std::string Answers(const v1::ModelVersion& model) {
  int64_t classes = 0;
  for (const v1::TensorDescription& output : model.outputs()) {
    if (output.shape_size() == 1 && classes == 0) classes = output.shape(0);
  }
  std::string labels = model.labels() == 0 ? "no labels" : absl::StrCat(model.labels(), " labels");
  if (classes <= 0) return labels;
  return absl::StrCat(classes, " classes, ", labels);
}

// What becomes of the scores unless a request says otherwise.
std::string Scores(const v1::ModelVersion& model) {
  const std::string& activation = model.activation();
  std::string text = OneLine(activation);
  if (activation == "none") text = "as the model gives them";
  if (activation == "softmax") text = "probabilities over all classes (softmax)";
  if (activation == "sigmoid") text = "a probability of each class for itself (sigmoid)";
  if (!model.has_threshold()) return text;
  return absl::StrCat(text, "; classes below ", absl::StrFormat("%g", model.threshold()),
                      " are left out");
}

}  // namespace

absl::StatusOr<v1::ModelVersion> VersionToExplain(const v1::ListModelsResponse& response,
                                                  int64_t version) {
  std::set<std::string> names;
  for (const v1::ModelVersion& one : response.models()) names.insert(one.name());
  if (names.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the server has ", names.size(), " models; name one of ", List(names)));
  }
  const v1::ModelVersion* found = nullptr;
  std::vector<std::string> states;
  for (const v1::ModelVersion& one : response.models()) {
    if (version != 0 && one.version() != version) continue;
    const std::string why = one.reason().empty() ? "" : absl::StrCat(": ", one.reason());
    states.push_back(absl::StrCat("version ", one.version(), " is ", StateName(one.state()), why));
    const bool ready = one.state() == v1::VERSION_STATE_READY;
    if (ready && (found == nullptr || one.version() > found->version())) found = &one;
  }
  if (found != nullptr) return *found;
  const std::string name = names.empty() ? "the server" : absl::StrCat("'", *names.begin(), "'");
  if (states.empty() && version != 0) {
    return absl::NotFoundError(absl::StrCat(name, " has no version ", version));
  }
  if (states.empty()) return absl::NotFoundError("the server has no model");
  return absl::UnavailableError(
      absl::StrCat(name, " has no such version that is ready: ", absl::StrJoin(states, "; ")));
}

std::string ExplainText(const v1::ModelVersion& model) {
  std::string text =
      absl::StrCat(OneLine(model.name()), " version ", model.version(), " takes ",
                   List(model.takes(), " or "), ", and answers ", Answers(model), "\n");
  absl::StrAppend(&text, "Scores: ", Scores(model), "\n");
  if (model.has_image()) absl::StrAppend(&text, "\n", ImageText(model));
  if (model.has_text()) absl::StrAppend(&text, "\n", TextText(model));
  if (Takes(model, "tensor")) absl::StrAppend(&text, "\n", TensorsText(model));
  return text;
}

}  // namespace torchd
