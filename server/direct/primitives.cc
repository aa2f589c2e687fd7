#include "server/direct/primitives.h"

#include <stdexcept>

#include "absl/hash/hash.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace torchd {

using dnnl::algorithm;

dnnl::engine& DirectEngine() {
  static auto* const engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);  // Never destroyed.
  return *engine;
}

int64_t BlockOfThisCpu() {
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  constexpr auto kWide = static_cast<unsigned>(dnnl::cpu_isa::avx512_core);
  return (isa & kWide) == kWide ? 16 : 8;
}

dnnl::memory::dims Both(const Pair& pair) { return {pair[0], pair[1]}; }

dnnl::memory::dims Between(const Pair& dilation) { return {dilation[0] - 1, dilation[1] - 1}; }

void Append(dnnl::post_ops& ops, const Activation& activation) {
  switch (activation.kind) {
    case Activation::Kind::kNone:
      return;
    case Activation::Kind::kRelu:
      return ops.append_eltwise(algorithm::eltwise_relu, 0, 0);
    case Activation::Kind::kClip:
      return ops.append_eltwise(algorithm::eltwise_clip, activation.low, activation.high);
    case Activation::Kind::kSigmoid:
      return ops.append_eltwise(algorithm::eltwise_logistic, 0, 0);
    case Activation::Kind::kHardSigmoid:
      return ops.append_eltwise(algorithm::eltwise_hardsigmoid, 1.0F / 6, 0.5F);
    case Activation::Kind::kSwish:
      return ops.append_eltwise(algorithm::eltwise_swish, 1, 0);
    case Activation::Kind::kHardSwish:
      return ops.append_eltwise(algorithm::eltwise_hardswish, 1.0F / 6, 0.5F);
    case Activation::Kind::kGelu:
      return ops.append_eltwise(algorithm::eltwise_gelu_erf, 0, 0);
  }
}

dnnl::primitive_attr Attributes(const dnnl::post_ops& ops) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attributes.set_post_ops(ops);
  return attributes;
}

bool IsSlow(const dnnl::primitive_desc_base& made) {
  return absl::StrContains(made.impl_info_str(), "ref") ||
         absl::StrContains(made.impl_info_str(), "gemm");
}

std::shared_ptr<dnnl::memory> Pack(const Numbers& numbers, const dnnl::memory::desc& plain,
                                   const dnnl::memory::desc& wanted, PackedWeights::Store& store) {
  const auto* const bytes = reinterpret_cast<const char*>(numbers.data.get());
  const size_t size = numbers.count * sizeof(float);
  if (plain.get_size() != size) throw std::runtime_error("weights are not of the size expected");
  const size_t hash = absl::Hash<absl::string_view>{}(absl::string_view(bytes, size));
  for (const auto& packed : store.all) {
    if (packed.hash == hash && packed.layout == wanted) return packed.memory;
  }
  auto kept = std::make_shared<dnnl::memory>(wanted, DirectEngine());
  dnnl::memory as_read(plain, DirectEngine(), const_cast<float*>(numbers.data.get()));
  dnnl::stream stream(DirectEngine());
  dnnl::reorder(as_read, *kept).execute(stream, as_read, *kept);
  stream.wait();
  store.all.push_back({hash, wanted, kept});
  return kept;
}

}  // namespace torchd
