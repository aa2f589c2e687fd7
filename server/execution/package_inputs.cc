#include "server/execution/package_inputs.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/config/model_config.h"

namespace torchd {
namespace {

// The text behind `mark`, which is skipped; none when it does not occur.
std::optional<absl::string_view> Behind(absl::string_view text, absl::string_view mark) {
  const size_t at = text.find(mark);
  if (at == absl::string_view::npos) return std::nullopt;
  return text.substr(at + mark.size());
}

// The number that `text` begins with.
std::optional<int64_t> NumberAtStart(absl::string_view text) {
  int64_t number = 0;
  const size_t end = std::min(text.find_first_not_of("0123456789"), text.size());
  if (!absl::SimpleAtoi(text.substr(0, end), &number)) return std::nullopt;
  return number;
}

std::optional<DataType> TypeIn(absl::string_view check) {
  const auto rest = Behind(check, "unmatched dtype");
  const auto name = rest ? Behind(*rest, "(at::") : std::nullopt;
  if (!name) return std::nullopt;
  const absl::string_view type = name->substr(0, name->find(')'));
  if (type == "kFloat") return DataType::kFloat32;
  if (type == "kLong") return DataType::kInt64;
  if (type == "kInt") return DataType::kInt32;
  if (type == "kByte") return DataType::kUint8;
  return std::nullopt;
}

// Every check names the place of the size that it is about: "unmatched dim value at 1, ".
Shape SizesIn(absl::string_view check) {
  Shape sizes;
  for (const absl::string_view kind :
       {"unmatched dim value at ", "unmatched stride value at ", "dim value is too small at ",
        "dim value is too large at "}) {
    for (auto rest = Behind(check, kind); rest; rest = Behind(*rest, kind)) {
      const auto place = NumberAtStart(*rest);
      if (!place || *place > static_cast<int64_t>(kDimensionsMax)) continue;
      sizes.resize(std::max<size_t>(sizes.size(), *place + 1), -1);
      const auto expected = Behind(rest->substr(0, 100), "expected: ");
      const auto size = expected ? NumberAtStart(*expected) : std::nullopt;
      if (kind == "unmatched dim value at " && size) sizes[*place] = *size;
    }
  }
  return sizes;
}

// The body of the function that checks the input at `place`.
std::optional<absl::string_view> CheckOf(absl::string_view source, size_t place) {
  const auto body = Behind(source, absl::StrCat("static void check_input_", place, "("));
  if (!body) return std::nullopt;
  return body->substr(0, body->find("\n}\n"));
}

}  // namespace

std::optional<Inputs> CheckedInputs(const std::string& source,
                                    const std::vector<std::string>& names) {
  Inputs inputs;
  for (size_t i = 0; i < names.size(); ++i) {
    const auto check = CheckOf(source, i);
    const auto type = check ? TypeIn(*check) : std::nullopt;
    const Shape sizes = check ? SizesIn(*check) : Shape();
    if (!type || sizes.empty()) return std::nullopt;
    inputs.push_back({names[i], *type, Shape(sizes.begin() + 1, sizes.end())});
  }
  return inputs;
}

}  // namespace torchd
