// The REST interface: the same calls as on gRPC, for whoever has curl. docs/rest.md is its manual,
// /openapi.json its contract.
//
// Thread-safety: all methods. Ownership: borrows what Parts names, which outlives it. A request
// lives until the classifier has let go of it; the destructor waits for that.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/base/thread_pool.h"
#include "server/classify/classifier.h"
#include "server/http/classify_body.h"
#include "server/http/http_message.h"
#include "server/http/pages.h"
#include "server/http/target.h"
#include "server/metrics/server_metrics.h"
#include "server/registry/registry.h"

namespace torchd {

class RestService final : public HttpHandler {
 public:
  struct Parts {
    Classifier& classifier;
    Registry& registry;
    ServerMetrics& metrics;
    const Clock& clock;
    BodyLimits limits;
    HttpSources pages;  // What is not REST.
  };

  explicit RestService(Parts parts);
  ~RestService() override;

  std::optional<HttpReply> AnswerNow(const HttpRequest& request) override;
  void Answer(std::shared_ptr<HttpRequest> request, Done done) override;
  void OnRefused(const absl::Status& why) override;

  // From now on every call of Classify is answered 503, and counted as draining.
  void Refuse() { refusing_.store(true, std::memory_order_relaxed); }

  // Calls of Classify that ever came, and those that are not yet answered or let go of.
  int64_t calls() const { return calls_.load(std::memory_order_relaxed); }
  int64_t in_flight() const { return in_flight_.load(); }

 private:
  struct Call;

  HttpReply Get(const RestRoute& route) const;
  std::optional<HttpReply> CheckPost(const HttpRequest& request) const;
  // On a thread of the pool.
  void Classify(const std::shared_ptr<Call>& held, const Done& done);
  absl::Status Read(Call& call) const;

  const Parts parts_;
  std::atomic<bool> refusing_{false};
  std::atomic<int64_t> calls_{0};
  std::atomic<int64_t> in_flight_{0};
  ThreadPool readers_;
};

}  // namespace torchd
