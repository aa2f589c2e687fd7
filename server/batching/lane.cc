#include "server/batching/lane.h"

namespace torchd {

ShapeClass ShapeClassOf(const ModelSignature& signature, const RowInputs& row) {
  ShapeClass open;
  for (size_t i = 0; i < row.size() && i < signature.inputs.size(); ++i) {
    const Shape& declared = signature.inputs[i].shape;
    for (size_t at = 0; at < declared.size() && at < row[i].shape.size(); ++at) {
      if (declared[at] < 0) open.push_back(row[i].shape[at]);
    }
  }
  return open;
}

}  // namespace torchd
