#include "server/http/pages.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "prometheus/metric_family.h"
#include "prometheus/text_serializer.h"
#include "server/http/reply.h"
#include "server/registry/repository.h"

namespace torchd {
namespace {

constexpr char kText[] = "text/plain; charset=utf-8";

HttpReply Metrics(const HttpSources& sources) {
  std::vector<prometheus::MetricFamily> families;
  for (const prometheus::Collectable* collectable : sources.collectables) {
    std::vector<prometheus::MetricFamily> some = collectable->Collect();
    families.insert(families.end(), std::make_move_iterator(some.begin()),
                    std::make_move_iterator(some.end()));
  }
  return {200, "text/plain; version=0.0.4; charset=utf-8",
          prometheus::TextSerializer().Serialize(families)};
}

// Each reason stays one line, whatever an exception's text brought along.
HttpReply ReadyOrNot(const Readiness& readiness) {
  if (readiness.ready) return {200, kText, "ready\n"};
  std::string body;
  for (const std::string& reason : readiness.reasons) {
    absl::StrAppend(&body, absl::StrReplaceAll(reason, {{"\r", " "}, {"\n", " "}}), "\n");
  }
  return {503, kText, body.empty() ? "not ready\n" : std::move(body)};
}

std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::string ModelsTable(const std::vector<StatusRow>& rows) {
  if (rows.empty()) return "<p>No models.</p>\n";
  std::string table =
      "<table>\n<tr><th>model</th><th>version</th><th>state</th><th>reason</th></tr>\n";
  for (const StatusRow& row : rows) {
    absl::StrAppend(&table, "<tr><td>", Escaped(row.name), "</td><td>", row.version, "</td><td>",
                    Escaped(row.state), "</td><td>", Escaped(row.reason), "</td></tr>\n");
  }
  return table + "</table>\n";
}

HttpReply StatusPage(const HttpSources& sources) {
  const Readiness readiness = sources.readiness();
  return {200, "text/html; charset=utf-8",
          absl::StrCat("<!DOCTYPE html>\n<html lang=\"en\"><head><title>torchd</title>\n"
                       "<style>body{font-family:sans-serif;margin:2em}"
                       "td,th{text-align:left;padding:.2em 1em .2em 0}</style></head>\n"
                       "<body><h1>torchd: ",
                       readiness.ready ? "ready" : "not ready", "</h1>\n<p>",
                       Escaped(absl::StrJoin(readiness.reasons, "; ")), "</p>\n",
                       ModelsTable(sources.rows()),
                       "<p><a href=\"/metrics\">metrics</a> <a href=\"/readyz\">readyz</a> "
                       "<a href=\"/livez\">livez</a> "
                       "<a href=\"/openapi.json\">REST</a></p>\n</body></html>\n")};
}

HttpReply ModelReady(const std::string& model, const HttpSources& sources) {
  const std::optional<Readiness> readiness = sources.model_readiness(model);
  if (readiness) return ReadyOrNot(*readiness);
  return ErrorReply(NoModel(model));
}

}  // namespace

HttpReply ReplyTo(absl::string_view method, absl::string_view path, const HttpSources& sources) {
  if (method != "GET" && method != "HEAD") {
    return MethodNotAllowed(std::string(method), "GET, HEAD");
  }
  if (path == "/") return StatusPage(sources);
  if (path == "/metrics") return Metrics(sources);
  if (path == "/livez") return {200, kText, "ok\n"};
  if (path == "/readyz") return ReadyOrNot(sources.readiness());
  absl::string_view model = path;
  if (absl::ConsumePrefix(&model, "/readyz/")) return ModelReady(std::string(model), sources);
  return ErrorReply(absl::NotFoundError(absl::StrCat("no page ", path)));
}

}  // namespace torchd
