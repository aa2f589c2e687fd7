#include "server/classify/classifier.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "server/classify/check.h"

namespace torchd {
void Classifier::Start(ClassifyCall call, Done done) {
  const auto refuse = [&](const absl::Status& status) {
    parts_.metrics.refused(RefusalOf(status)).Add();
    done({status, nullptr, {}});
  };
  const absl::Status count = CheckItemCount(call.items.size());
  if (!count.ok()) return refuse(count);
  auto servable = parts_.registry.Lookup(call.model, {call.version, call.version_label});
  if (!servable.ok()) return refuse(servable.status());
  const auto top_k = ChooseClasses(call, **servable);
  if (!top_k.ok()) return refuse(top_k.status());
  const int timeout_ms = (*servable)->config.timeout_ms;
  if (timeout_ms > 0) {
    const auto timeout = std::chrono::milliseconds(timeout_ms);
    call.answer_by = std::min(call.answer_by, call.arrival + timeout);
  }
  call.deadline = std::min(call.deadline, call.answer_by);
  auto memory = memory_.Take(call.client, call.bytes + PreparedBytes(call.items, **servable));
  const absl::Status fits = memory.status();
  const auto flight = std::make_shared<Flight>(
      FlightParts{parts_.executors, parts_.preparers, parts_.metrics, parts_.clock, alarms_},
      std::move(call), *std::move(servable), *top_k,
      fits.ok() ? *std::move(memory) : InFlightMemory::Lease(), std::move(done));
  if (!fits.ok()) return flight->RefuseAll(fits);
  flight->Start();
}

}  // namespace torchd
