// What the preprocessor makes of files and of texts, for the figures and tests that compare it.
//
//   prepare image PRESET RESIZE CROP FILTER REPETITIONS < list-of-paths > tensors
//   prepare text VOCABULARY cased|uncased TOKENS_MAX < texts > ids
//
// image: for each line of the input one line of JSON: {"status": "...", "shape": [...], "us":
// [...], "memory_kb": n}, and the bytes of the tensor where the status is OK. text: for each text,
// a JSON string a line, a line of ids or {"error": "..."}.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "server/config/model_config.h"
#include "server/preprocessing/preprocessor.h"

namespace torchd {
namespace {

using Json = nlohmann::json;
using Microseconds = std::chrono::duration<double, std::micro>;

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream contents;
  contents << file.rdbuf();
  return contents.str();
}

// A number of kB in /proc/self/status.
long Memory(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    long kb = 0;
    if (word == key && status >> kb) return kb;
  }
  return 0;
}

// The peak begins anew.
void ForgetMemoryPeak() { std::ofstream("/proc/self/clear_refs") << "5"; }

int Fail(const absl::Status& status) {
  std::cerr << "prepare: " << status << "\n";
  return 2;
}

int PrepareImages(const std::vector<std::string>& arguments) {
  std::stringstream yaml;
  yaml << "image: {preset: " << arguments[0] << ", resize: " << arguments[1]
       << ", crop: " << arguments[2] << ", filter: " << arguments[3] << "}\n";
  const auto config = ParseModelConfig(yaml.str());
  if (!config.ok()) return Fail(config.status());
  const auto preprocessor =
      Preprocessor::Create(*config, {ImageInput("image", *config->image)}, "", {});
  if (!preprocessor.ok()) return Fail(preprocessor.status());
  const int repetitions = std::stoi(arguments[4]);
  for (std::string path; std::getline(std::cin, path);) {
    const std::string bytes = Contents(path);
    Json line;
    absl::StatusOr<std::vector<Tensor>> made = absl::UnknownError("not tried");
    ForgetMemoryPeak();
    const long memory = Memory("VmRSS:");
    for (int i = 0; i < repetitions; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      made = preprocessor->FromImage(bytes);
      line["us"].push_back(Microseconds(std::chrono::steady_clock::now() - begin).count());
    }
    line["status"] = made.status().ToString();
    line["memory_kb"] = Memory("VmHWM:") - memory;
    if (made.ok()) line["shape"] = (*made)[0].shape;
    std::cout << line.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
    if (made.ok()) {
      std::cout.write((*made)[0].bytes.data(), static_cast<long>((*made)[0].bytes.size()));
    }
    std::cout.flush();
  }
  return 0;
}

void PrintNumbers(const Tensor& tensor) {
  const auto* numbers = reinterpret_cast<const int32_t*>(tensor.bytes.data());
  for (int64_t i = 0; i < tensor.shape[0]; ++i) std::cout << numbers[i] << " ";
}

int PrepareTexts(const std::vector<std::string>& arguments) {
  ModelConfig config;
  config.text.emplace();
  config.text->vocabulary = arguments[0];
  config.text->lowercase = arguments[1] == "uncased";
  config.text->tokens_max = std::stoi(arguments[2]);
  const auto preprocessor = Preprocessor::Create(
      config, {{"input_ids", DataType::kInt32, {-1}}, {"token_type_ids", DataType::kInt32, {-1}}},
      Contents(arguments[0]), {});
  if (!preprocessor.ok()) return Fail(preprocessor.status());
  for (std::string line; std::getline(std::cin, line);) {
    const Json text = Json::parse(line);
    const auto made = text.is_array() ? preprocessor->FromText(text[0].get<std::string>(),
                                                               text[1].get<std::string>())
                                      : preprocessor->FromText(text.get<std::string>());
    if (!made.ok()) {
      std::cout << Json{{"error", made.status().ToString()}} << "\n";
      continue;
    }
    PrintNumbers((*made)[0]);
    std::cout << "| ";
    PrintNumbers((*made)[1]);
    std::cout << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace torchd

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 6 && arguments[0] == "image") {
    return torchd::PrepareImages({arguments.begin() + 1, arguments.end()});
  }
  if (arguments.size() == 4 && arguments[0] == "text") {
    return torchd::PrepareTexts({arguments.begin() + 1, arguments.end()});
  }
  std::cerr << "usage: prepare image PRESET RESIZE CROP FILTER REPETITIONS\n"
               "       prepare text VOCABULARY cased|uncased TOKENS_MAX\n";
  return 2;
}
