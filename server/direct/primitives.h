// What oneDNN calls things. Private to this folder.
#pragma once

#include <cstdint>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

#include "server/direct/direct_network.h"
#include "server/direct/network.h"

namespace torchd {

dnnl::engine& DirectEngine();

// How many channels of a picture lie together, so that one instruction takes them.
int64_t BlockOfThisCpu();

dnnl::memory::dims Both(const Pair& pair);

// oneDNN counts what lies between, LibTorch the steps.
dnnl::memory::dims Between(const Pair& dilation);

void Append(dnnl::post_ops& ops, const Activation& activation);

dnnl::primitive_attr Attributes(const dnnl::post_ops& ops = {});

// There is no kernel of its own for such layouts.
bool IsSlow(const dnnl::primitive_desc_base& made);

struct PackedWeights::Store {
  struct Packed {
    size_t hash = 0;  // Of the numbers.
    dnnl::memory::desc layout;
    std::shared_ptr<dnnl::memory> memory;
  };
  std::vector<Packed> all;
};

// In the layout `wanted`; from the store, if they are there.
std::shared_ptr<dnnl::memory> Pack(const Numbers& numbers, const dnnl::memory::desc& plain,
                                   const dnnl::memory::desc& wanted, PackedWeights::Store& store);

}  // namespace torchd
