#include "server/http/rest_service.h"

#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"
#include "server/batching/refusal.h"
#include "server/classify/caller.h"
#include "server/http/answer_json.h"
#include "server/http/openapi.h"
#include "server/http/reply.h"
#include "server/registry/repository.h"

namespace torchd {
namespace {

// A reader of JSON has work for as long as a body is; two let a short one pass a long one.
constexpr ThreadPool::Limits kReaders = {.threads = 2, .tasks_waiting_max = 4096};
constexpr auto kLettingGoPoll = std::chrono::milliseconds(2);
constexpr char kReading[] = "GET, HEAD";

bool IsGet(const HttpRequest& request) {
  return request.method == "GET" || request.method == "HEAD";
}

}  // namespace

// What a call borrows beside its request.
struct RestService::Call {
  Call(std::shared_ptr<HttpRequest> came, Instant now, std::atomic<int64_t>& counter)
      : request(std::move(came)), arrival(now), in_flight(counter) {
    in_flight.fetch_add(1);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() { in_flight.fetch_sub(1); }

  const std::shared_ptr<HttpRequest> request;
  const Instant arrival;
  std::atomic<int64_t>& in_flight;
  RestRoute route;
  ClassifyBody body;
};

RestService::RestService(Parts parts) : parts_(std::move(parts)), readers_("rest", kReaders) {}

RestService::~RestService() {
  while (in_flight() > 0) std::this_thread::sleep_for(kLettingGoPoll);
}

void RestService::OnRefused(const absl::Status& why) {
  parts_.metrics.refused(RefusalOf(why)).Add();
}

std::optional<HttpReply> RestService::AnswerNow(const HttpRequest& request) {
  const absl::StatusOr<Target> target = ParseTarget(request.target);
  if (!target.ok()) return ErrorReply(target.status());
  const auto route = ParseRoute(target->path);
  if (!route.ok()) return ErrorReply(route.status());
  if (!*route) {
    if (target->path != "/openapi.json") {
      return ReplyTo(request.method, target->path, parts_.pages);
    }
    if (!IsGet(request)) return MethodNotAllowed(request.method, kReading);
    return HttpReply{200, "application/json", kOpenApi};
  }
  if ((*route)->kind == RestRoute::Kind::kClassify) return CheckPost(request);
  if (!IsGet(request)) return MethodNotAllowed(request.method, kReading);
  return Get(**route);
}

std::optional<HttpReply> RestService::CheckPost(const HttpRequest& request) const {
  if (request.method != "POST") return MethodNotAllowed(request.method, "POST");
  absl::Status type = CheckContentType(request.content_type);
  const std::string& encoding = request.content_encoding;
  if (type.ok() && !encoding.empty() && !absl::EqualsIgnoreCase(encoding, "identity")) {
    type = absl::InvalidArgumentError(absl::StrCat("Content-Encoding: got ", QuotedWord(encoding),
                                                   ", expected none: the body as it is"));
  }
  if (type.ok()) return std::nullopt;
  parts_.metrics.refused(Refusal::kInvalid).Add();
  return ErrorReply(415, type);
}

HttpReply RestService::Get(const RestRoute& route) const {
  const std::vector<VersionStatus> all = parts_.registry.Snapshot();
  if (route.kind == RestRoute::Kind::kModels) return ModelsReply(all);
  size_t first = 0;
  while (first < all.size() && all[first].name != route.model) ++first;
  size_t end = first;
  while (end < all.size() && all[end].name == route.model) ++end;
  if (first == end) return ErrorReply(NoModel(route.model));
  if (route.kind == RestRoute::Kind::kModel) {
    return ModelReply(absl::MakeConstSpan(all).subspan(first, end - first));
  }
  for (size_t i = first; i < end; ++i) {
    if (all[i].version == route.version) return VersionReply(all[i]);
  }
  return ErrorReply(absl::NotFoundError(
      absl::StrCat("model ", QuotedWord(route.model), " has no version ", route.version)));
}

void RestService::Answer(std::shared_ptr<HttpRequest> request, Done done) {
  calls_.fetch_add(1, std::memory_order_relaxed);
  if (refusing_.load(std::memory_order_relaxed)) {
    const absl::Status refused =
        Refused(Refusal::kDraining, absl::UnavailableError("the server is shutting down"));
    OnRefused(refused);
    return done(ErrorReply(refused));
  }
  auto call = std::make_shared<Call>(std::move(request), parts_.clock.Now(), in_flight_);
  const bool accepted = readers_.Submit([this, call, done] { Classify(call, done); });
  if (accepted) return;
  const absl::Status full =
      Overloaded(Refusal::kQueueFull, "too many HTTP requests wait", std::chrono::milliseconds(50));
  OnRefused(full);
  done(ErrorReply(full));
}

absl::Status RestService::Read(Call& call) const {
  const HttpRequest& request = *call.request;
  TORCHD_ASSIGN_OR_RETURN(const Target target, ParseTarget(request.target));
  TORCHD_ASSIGN_OR_RETURN(const std::optional<RestRoute> route, ParseRoute(target.path));
  TORCHD_CHECK(route.has_value());  // AnswerNow() let nothing else through.
  call.route = *route;
  TORCHD_ASSIGN_OR_RETURN(
      call.body, ReadClassifyBody(request.content_type, request.body, target.query, parts_.limits));
  return absl::OkStatus();
}

void RestService::Classify(const std::shared_ptr<Call>& held, const Done& done) {
  const absl::Status read = Read(*held);
  if (!read.ok()) {
    OnRefused(read);
    return done(ErrorReply(read));
  }
  const HttpRequest& request = *held->request;
  const ClassifyOptions& options = held->body.options;
  ClassifyCall call;
  call.model = held->route.model;
  call.version = held->route.version;
  call.version_label = options.version_label.value_or("");
  call.items = std::move(held->body.items);
  if (options.top_k) call.top_k = static_cast<int>(*options.top_k);
  call.softmax = options.softmax;
  call.activation = options.activation;
  call.threshold = options.threshold;
  call.priority = options.priority.value_or(Priority::kNormal);
  call.arrival = held->arrival;
  if (options.timeout_ms.value_or(0) > 0) {
    call.answer_by = call.arrival + std::chrono::milliseconds(*options.timeout_ms);
  }
  std::optional<absl::string_view> named;
  if (request.client_name) named = *request.client_name;
  call.client = ClientOf(request.peer, named);
  call.bytes = static_cast<int64_t>(request.body.size()) + held->body.owned_bytes;
  call.cancelled = &held->request->cancelled;
  call.keeps = held;
  parts_.classifier.Start(std::move(call), [done](const ClassifyAnswer& answer) {
    done(answer.status.ok() ? AnswerReply(answer) : ErrorReply(answer.status));
  });
}

}  // namespace torchd
