#include "client/classify_run.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/convert.h"
#include "client/csv.h"
#include "client/json.h"
#include "client/render.h"

namespace torchd {
namespace {

void Print(std::FILE* stream, const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stream);
}

InputResult ResultOf(const std::string& name, const v1::ClassifyResponse& response,
                     const v1::ClassifyResult& result) {
  InputResult shown{name, response.model(), response.version(), result};
  if (result.has_error()) shown.result = StatusOf(result.error());
  return shown;
}

}  // namespace

ExitCode ShowFailure(const absl::Status& status, std::FILE* err) {
  if (!IsUnreachable(status)) {
    Print(err, ErrorLine(status));
    return ExitCodeOf(status);
  }
  const absl::Status advice = absl::UnavailableError(
      absl::StrCat(status.message(),
                   "; is it running? Start it with: torchd --model-repository DIR "
                   "(or ask another with --address HOST:PORT)"));
  Print(err, ErrorLine(advice));
  return kUnreachable;
}

ClassifyRun::ClassifyRun(const Arguments& arguments, Ask ask, Read read, std::FILE* out,
                         std::FILE* err)
    : arguments_(arguments), ask_(std::move(ask)), read_(std::move(read)), out_(out), err_(err) {
  request_.set_model(arguments.model);
  request_.set_version(arguments.model_version);
  request_.set_version_label(arguments.version_label);
  if (arguments.top_k) request_.set_top_k(*arguments.top_k);
  if (arguments.softmax) request_.set_softmax(*arguments.softmax);
  request_.set_activation(arguments.activation);
  if (arguments.threshold) request_.set_threshold(*arguments.threshold);
  request_.set_priority(arguments.priority);
}

ExitCode ClassifyRun::Run() {
  if (arguments_.csv) Print(out_, ClassifyCsvHeader());
  ShowProgress();
  SendAll();
  // What was sent before something could not be read is answered, too.
  while (!calls_.empty()) ShowOldest();
  progress_.Clear();
  if (arguments_.json) Print(out_, ClassifyJson(results_));
  return exit_code_;
}

void ClassifyRun::SendAll() {
  for (const std::string& input : arguments_.inputs) {
    absl::StatusOr<std::string> content = read_(input);
    if (!content.ok()) {
      Fail(content.status(), "");
      exit_code_ = kWrongUsage;
      return;
    }
    if (!size_.HasRoomFor(content->size() + PairBytes())) Send();
    if (exit_code_ == kUnreachable) return;
    Add(input, *std::move(content));
  }
  Send();
}

void ClassifyRun::Add(const std::string& input, std::string content) {
  ++size_.items;
  size_.bytes += content.size() + PairBytes();
  names_.push_back(input);
  v1::ClassifyItem* item = request_.add_items();
  if (arguments_.pair) {
    item->mutable_text_pair()->set_first(std::move(content));
    item->mutable_text_pair()->set_second(*arguments_.pair);
  } else if (arguments_.text) {
    item->set_text(std::move(content));
  } else {
    item->set_image(std::move(content));
  }
}

void ClassifyRun::Send() {
  if (names_.empty()) return;
  while (calls_.size() >= static_cast<size_t>(arguments_.jobs)) ShowOldest();
  v1::ClassifyRequest options = request_;
  options.clear_items();
  v1::ClassifyRequest request = std::exchange(request_, std::move(options));
  size_ = {};
  std::vector<std::string> names = std::exchange(names_, {});
  if (exit_code_ == kUnreachable) return;
  calls_.push_back({std::move(names),
                    std::async(std::launch::async,
                               [this, request = std::move(request)] { return ask_(request); })});
}

void ClassifyRun::ShowOldest() {
  const std::vector<std::string> names = std::move(calls_.front().names);
  const absl::StatusOr<v1::ClassifyResponse> response = calls_.front().answer.get();
  calls_.pop_front();
  if (!response.ok()) {
    ShowFailedCall(names, response.status());
  } else if (response->results_size() != static_cast<int>(names.size())) {
    ShowFailedCall(names,
                   absl::InternalError(absl::StrCat("the server sent ", response->results_size(),
                                                    " results for ", names.size(), " items")));
  } else {
    for (int i = 0; i < response->results_size(); ++i) {
      Show(ResultOf(names[i], *response, response->results(i)));
    }
  }
  ShowProgress();
}

void ClassifyRun::Show(InputResult result) {
  ++shown_;
  const absl::Status status = result.result.status();
  if (!status.ok()) {
    ++failed_;
    exit_code_ = Worse(exit_code_, ExitCodeOf(status));
    Fail(status, arguments_.inputs.size() > 1 ? result.input : "");
  }
  if (arguments_.csv) {
    progress_.Clear();
    Print(out_, ClassifyCsv(result));
  } else if (status.ok() && !arguments_.json) {
    progress_.Clear();
    const bool scores = arguments_.softmax == false || arguments_.activation == v1::ACTIVATION_NONE;
    Print(out_, ClassifyTable(result, scores));
  }
  if (arguments_.json) results_.push_back(std::move(result));
}

void ClassifyRun::Fail(const absl::Status& status, const std::string& about) {
  progress_.Clear();
  // Standard output first, so that both keep the order of the inputs on one terminal.
  std::fflush(out_);
  Print(err_, ErrorLine(status, about));
}

void ClassifyRun::ShowFailedCall(const std::vector<std::string>& names,
                                 const absl::Status& status) {
  // A call with one item fails with that item's status.
  if (names.size() == 1 && !IsUnreachable(status)) {
    Show({names[0], "", 0, status});
    return;
  }
  progress_.Clear();
  std::fflush(out_);
  shown_ += names.size();
  failed_ += names.size();
  // Of several calls that met nobody, the first says so.
  if (!IsUnreachable(status) || exit_code_ != kUnreachable) {
    exit_code_ = Worse(exit_code_, ShowFailure(status, err_));
  }
  for (const std::string& name : names) {
    const InputResult failed{name, "", 0, status};
    if (arguments_.csv) Print(out_, ClassifyCsv(failed));
    if (arguments_.json) results_.push_back(failed);
  }
}

void ClassifyRun::ShowProgress() {
  const size_t total = arguments_.inputs.size();
  if (total < 2) return;
  const auto elapsed = std::chrono::steady_clock::now() - begun_;
  progress_.Show(ProgressLine(
      {shown_, total, failed_, std::chrono::duration_cast<std::chrono::milliseconds>(elapsed)}));
}

}  // namespace torchd
