// Where a network's results lie and how, as oneDNN is told. Private to this folder.
#pragma once

#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

#include "server/direct/network.h"
#include "server/direct/placement.h"

namespace torchd {

// What a primitive takes or makes.
struct Argument {
  enum class Where { kPlaced, kInput, kConstant };
  int id = 0;  // DNNL_ARG_SRC and so on.
  Where where = Where::kPlaced;
  size_t at = 0;  // Floats from the beginning; of kInput: which one.
  dnnl::memory::desc layout = {};
  std::shared_ptr<dnnl::memory> constant = nullptr;

  Argument As(int other_id) const {
    Argument other = *this;
    other.id = other_id;
    return other;
  }
};

// Of one network, which outlives it.
class Layouts {
 public:
  explicit Layouts(const Network& network);

  // Of the result of node `i`.
  dnnl::memory::desc LayoutOf(size_t i) const;
  Argument Of(int id, size_t i) const;
  // Only where that is in our memory.
  size_t OffsetOf(size_t i) const { return *placement_.offsets[i]; }
  // It is read where a run is given it.
  bool IsOutside(size_t i) const { return outside_[i]; }
  // An input as a run is given it, also where it is read from elsewhere then.
  Argument Given(int id, size_t i) const;

  // Memory that only the steps of one node use: until the next begins.
  Argument Beside(int id, const dnnl::memory::desc& layout);
  void BeginNode() { besides_ = 0; }

  const Placement& placement() const { return placement_; }
  int64_t block() const { return block_; }
  // Floats, all together.
  size_t count() const { return placement_.count + besides_most_; }

 private:
  const Network& network_;
  const int64_t block_;
  const std::vector<bool> outside_;
  const Placement placement_;
  size_t besides_ = 0;
  size_t besides_most_ = 0;
};

}  // namespace torchd
