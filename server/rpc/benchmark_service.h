// Benchmark on the gRPC callback API: the wire in, a BenchmarkSpec on, updates out.
//
// Thread-safety: gRPC and the benchmarks call it from many threads; nothing blocks.
// Ownership: borrows the benchmarks, which outlive it.
#pragma once

#include <atomic>
#include <cstdint>

#include "server/benchmark/benchmarks.h"
#include "torchd/v1/benchmark.grpc.pb.h"

namespace torchd {

class BenchmarkService final : public v1::BenchmarkService::CallbackService {
 public:
  explicit BenchmarkService(Benchmarks& benchmarks) : benchmarks_(benchmarks) {}

  grpc::ServerWriteReactor<v1::BenchmarkUpdate>* Benchmark(
      grpc::CallbackServerContext* context, const v1::BenchmarkRequest* request) override;

  // Calls that are not yet answered down to the socket.
  int64_t in_flight() const { return in_flight_.load(); }

 private:
  Benchmarks& benchmarks_;
  std::atomic<int64_t> in_flight_{0};
};

}  // namespace torchd
