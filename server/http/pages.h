// What the HTTP port answers, as a pure function of the request and of what the daemon knows.
//
// Thread-safety: ReplyTo() is called on several threads at once, so the sources must allow that.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "prometheus/collectable.h"
#include "server/http/http_message.h"

namespace torchd {

struct Readiness {
  bool ready = false;
  std::vector<std::string> reasons;  // Why not; each a line of its own.
};

struct StatusRow {
  std::string name;
  std::int64_t version = 0;
  std::string state;
  std::string reason;  // Empty when all is well.
};

// Functions, so that this folder knows neither the registry nor gRPC. All but the collectables must
// be set; what they and the collectables refer to must outlive the HttpServer.
struct HttpSources {
  std::function<Readiness()> readiness;
  // Nothing for a model that is not configured.
  std::function<std::optional<Readiness>(const std::string& model)> model_readiness;
  std::function<std::vector<StatusRow>()> rows;
  std::vector<const prometheus::Collectable*> collectables;  // Borrowed.
};

// `path`: decoded, without the query. GET and HEAD get the same reply; whoever sends it leaves the
// body out for HEAD.
HttpReply ReplyTo(absl::string_view method, absl::string_view path, const HttpSources& sources);

}  // namespace torchd
