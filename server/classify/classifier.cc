#include "server/classify/classifier.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/batching/refusal.h"
#include "server/classify/check.h"

namespace torchd {
namespace {

constexpr Duration kMemoryRetry = std::chrono::milliseconds(50);

}  // namespace

void Classifier::Start(ClassifyCall call, Done done) {
  const int64_t bytes = call.bytes;
  const auto refuse = [&](const absl::Status& status) {
    parts_.metrics.refused(RefusalOf(status)).Add();
    done({status, nullptr, {}});
  };
  const absl::Status count = CheckItemCount(call.items.size());
  if (!count.ok()) return refuse(count);
  auto servable = parts_.registry.Lookup(call.model, {call.version, call.version_label});
  if (!servable.ok()) return refuse(servable.status());
  const auto top_k = ChooseTopK(call.top_k, (*servable)->model->signature());
  if (!top_k.ok()) return refuse(top_k.status());
  const int timeout_ms = (*servable)->config.timeout_ms;
  if (timeout_ms > 0) {
    const auto timeout = std::chrono::milliseconds(timeout_ms);
    call.answer_by = std::min(call.answer_by, call.arrival + timeout);
  }
  call.deadline = std::min(call.deadline, call.answer_by);
  const int64_t in_flight = in_flight_bytes_.fetch_add(call.bytes, std::memory_order_relaxed);
  auto flight =
      std::make_shared<Flight>(FlightParts{parts_.executors, parts_.preparers, parts_.metrics,
                                           parts_.clock, alarms_, in_flight_bytes_},
                               std::move(call), *std::move(servable), *top_k, std::move(done));
  if (in_flight > 0 && in_flight + bytes > parts_.in_flight_bytes_max) {
    return flight->RefuseAll(Overloaded(
        Refusal::kMemory,
        absl::StrCat("the requests in the server hold ", in_flight >> 20, " MiB, and this one ",
                     bytes >> 10, " KiB; in_flight_mb_max is ", parts_.in_flight_bytes_max >> 20),
        kMemoryRetry));
  }
  flight->Start();
}

}  // namespace torchd
