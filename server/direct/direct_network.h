// A network compiled for oneDNN: primitives, weights in their layouts and places for all results
// are settled beforehand, so that a run does nothing but run them.
#pragma once

#include <memory>

#include "absl/types/span.h"
#include "server/direct/network.h"

namespace torchd {

// Weights as oneDNN wants them: networks of one model share what they have in common. Not
// thread-safe.
class PackedWeights {
 public:
  PackedWeights();
  ~PackedWeights();

  struct Store;
  Store& store() { return *store_; }

 private:
  const std::unique_ptr<Store> store_;
};

// Thread-safety: Run() from any thread; each that runs at the same time takes memory of its own,
// which is kept for the next.
class DirectNetwork {
 public:
  virtual ~DirectNetwork() = default;

  // Compiles for teams of as many threads as the caller's has. Throws std::exception, where oneDNN
  // cannot do it.
  static std::unique_ptr<DirectNetwork> Compile(const Network& network, PackedWeights& weights);

  // As the network's inputs and outputs, rows one after the other.
  virtual void Run(absl::Span<const float* const> inputs, absl::Span<float* const> outputs) = 0;
};

}  // namespace torchd
