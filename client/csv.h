// torchctl classify --csv: for spreadsheets and scripts, as RFC 4180 has it but for the ends of the
// lines. Columns are only ever added, at the end.
#pragma once

#include <string>

#include "client/result.h"

namespace torchd {

// file,model,version,rank,index,label,probability,error,message
std::string ClassifyCsvHeader();

// A line for each class, the most probable is rank 1; or one with the error's code and message.
std::string ClassifyCsv(const InputResult& result);

}  // namespace torchd
