#include "client/csv.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"

namespace torchd {
namespace {

std::string Field(absl::string_view text) {
  if (text.find_first_of(",\"\r\n") == absl::string_view::npos) return std::string(text);
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

}  // namespace

std::string ClassifyCsvHeader() {
  return "file,model,version,rank,index,label,probability,error,message\n";
}

std::string ClassifyCsv(const InputResult& result) {
  const std::string start =
      absl::StrCat(Field(result.input), ",", Field(result.model), ",",
                   result.model.empty() ? "" : absl::StrCat(result.version), ",");
  if (!result.result.ok()) {
    const absl::Status& status = result.result.status();
    return absl::StrCat(start, ",,,,", absl::StatusCodeToString(status.code()), ",",
                        Field(absl::string_view(status.message())), "\n");
  }
  if (result.result->classes().empty()) return absl::StrCat(start, ",,,,,\n");
  std::string lines;
  int rank = 0;
  for (const v1::Class& one : result.result->classes()) {
    absl::StrAppend(&lines, start, ++rank, ",", one.index(), ",", Field(one.label()), ",",
                    absl::StrFormat("%.9g", one.probability()), ",,\n");
  }
  return lines;
}

}  // namespace torchd
