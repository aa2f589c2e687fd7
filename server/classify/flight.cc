#include "server/classify/flight.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "server/batching/refusal.h"
#include "server/classify/check.h"

namespace torchd {
namespace {

// Until `rows` of a model have run, from now. What its other shapes and other models add is left to
// the scheduler, which looks at the row again once it is prepared.
Duration RunTime(const Lane& lane, int rows, int executors) {
  const int most = lane.options.executors_max;
  return lane.costs.Careful({}, rows) / (most > 0 ? std::min(most, executors) : executors);
}

// With the model's name in front; it keeps what RefusalIn() and RetryAfter() read.
absl::Status OfModel(const std::string& name, const absl::Status& status) {
  absl::Status named(status.code(), absl::StrCat("model '", name, "': ", status.message()));
  status.ForEachPayload(
      [&](absl::string_view key, const absl::Cord& value) { named.SetPayload(key, value); });
  return named;
}

absl::StatusOr<std::vector<Tensor>> FromText(const Preprocessor& preprocessor,
                                             const TextItem& item) {
  return preprocessor.FromText(item.text, item.pair);
}

}  // namespace

Refusal RefusalOf(const absl::Status& status) {
  if (const auto why = RefusalIn(status)) return *why;
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return Refusal::kUnknownModel;
    case absl::StatusCode::kUnavailable:
      return Refusal::kNotReady;
    case absl::StatusCode::kResourceExhausted:
      return Refusal::kQueueFull;
    case absl::StatusCode::kDeadlineExceeded:
      return Refusal::kDeadline;
    default:
      return Refusal::kInvalid;
  }
}

Flight::Flight(const FlightParts& parts, ClassifyCall call, ModelHandle servable,
               const TopKOptions& top_k, InFlightMemory::Lease memory, Done done)
    : parts_(parts),
      call_(std::move(call)),
      servable_(std::move(servable)),
      top_k_(top_k),
      items_(call_.items.size()),
      left_(call_.items.size()),
      done_(std::move(done)),
      memory_(std::move(memory)) {}

void Flight::Start() {
  // Once the last item is under way the completion may run at any moment; `self` keeps the loop's
  // own members alive.
  const auto self = shared_from_this();
  if (call_.answer_by != kNever) {
    alarm_ = parts_.alarms.Set(call_.answer_by, [flight = weak_from_this()] {
      if (const auto late = flight.lock()) late->AnswerTooLate();
    });
  }
  for (size_t i = 0; i < items_.size(); ++i) StartItem(i);
}

void Flight::RefuseAll(const absl::Status& why) {
  const auto self = shared_from_this();
  for (size_t i = 0; i < items_.size(); ++i) Refuse(i, why);
}

void Flight::StartItem(size_t i) {
  const ClassifyItem& item = call_.items[i];
  if (const auto* status = std::get_if<absl::Status>(&item)) return Refuse(i, *status);
  if (const auto* tensors = std::get_if<TensorItem>(&item)) {
    auto row = MatchInputs(*tensors, *servable_);
    if (!row.ok()) return Refuse(i, row.status());
    return SubmitRow(i, *std::move(row));
  }
  const absl::Status takes = CheckTakes(item);
  if (!takes.ok()) return Refuse(i, takes);
  const absl::Status submitted = SubmitToPrepare(i);
  if (!submitted.ok()) Refuse(i, OfModel(servable_->name, submitted));
}

absl::Status Flight::SubmitToPrepare(size_t i) {
  const Lane& lane = *servable_->lane;
  const auto time = [&](int rows) {
    return RunTime(lane, rows, parts_.executors.options().threads);
  };
  PrepTask task;
  task.model = servable_->name;
  task.priority = call_.priority;
  task.client = call_.client;
  task.deadline = call_.deadline;
  task.ageing = lane.options.ageing;
  task.cancelled = call_.cancelled;
  task.prepare = [self = shared_from_this(), i] { return self->Prepare(i); };
  const int before = parts_.executors.RowsBefore(lane, call_.priority, call_.client);
  return parts_.preparers.Submit(std::move(task), {before, time});
}

absl::Status Flight::CheckTakes(const ClassifyItem& item) const {
  const bool is_image = std::holds_alternative<ImageItem>(item);
  const Preprocessor& preprocessor = servable_->preprocessor;
  if (is_image ? preprocessor.takes_image() : preprocessor.takes_text()) {
    return absl::OkStatus();
  }
  std::string takes;
  for (const std::string& kind : Takes(*servable_)) {
    absl::StrAppend(&takes, takes.empty() ? "" : ", ", kind);
  }
  const bool is_pair = !is_image && std::get<TextItem>(item).pair.has_value();
  return absl::InvalidArgumentError(absl::StrCat("model '", servable_->name, "' takes no ",
                                                 is_image  ? "image"
                                                 : is_pair ? "text, and so no text_pair"
                                                           : "text",
                                                 "; it takes: ", takes));
}

// On a preprocessing thread. Returns what the work took; 0: there was none.
Duration Flight::Prepare(size_t i) {
  const Instant begin = parts_.clock.Now();
  if (call_.cancelled != nullptr && call_.cancelled->load(std::memory_order_relaxed)) {
    FinishItem(i, absl::CancelledError("the caller cancelled"));
    return Duration(0);
  }
  if (begin >= call_.deadline) {
    Refuse(i, absl::DeadlineExceededError("the deadline passed before the item was prepared"));
    return Duration(0);
  }
  const ClassifyItem& item = call_.items[i];
  const auto* image = std::get_if<ImageItem>(&item);
  auto prepared = image != nullptr ? servable_->preprocessor.FromImage(image->bytes)
                                   : FromText(servable_->preprocessor, std::get<TextItem>(item));
  const Instant end = parts_.clock.Now();
  items_[i].answer.times.preprocess = end - call_.arrival;
  servable_->metrics.preprocess.Observe(items_[i].answer.times.preprocess);
  if (!prepared.ok()) {  // What is no picture takes no time, and says nothing of one that is.
    Refuse(i, prepared.status());
    return Duration(0);
  }
  items_[i].prepared = *std::move(prepared);
  RowInputs row;
  for (const Tensor& tensor : items_[i].prepared) row.push_back(tensor.View());
  SubmitRow(i, std::move(row));
  return end - begin;
}

void Flight::SubmitRow(size_t i, RowInputs row) {
  auto request = std::make_unique<Request>();
  request->lane = servable_->lane.get();
  request->inputs = std::move(row);
  request->deadline = call_.deadline;
  request->priority = call_.priority;
  request->client = call_.client;
  request->cancelled = call_.cancelled;
  request->alone = i + 1 == items_.size();
  request->done = [self = shared_from_this(), i](
                      const absl::Status& status, const std::vector<TensorView>& outputs,
                      const RunTimes& times) { self->OnRun(i, status, outputs, times); };
  const absl::Status submitted = parts_.executors.Submit(std::move(request));
  if (!submitted.ok()) Refuse(i, OfModel(servable_->name, submitted));
}

void Flight::Refuse(size_t i, const absl::Status& why) {
  parts_.metrics.refused(RefusalOf(why)).Add();
  FinishItem(i, why);
}

// On an executor's thread.
void Flight::OnRun(size_t i, const absl::Status& status, const std::vector<TensorView>& outputs,
                   const RunTimes& times) {
  ItemAnswer& answer = items_[i].answer;
  answer.times.queue = times.started - times.admitted;
  answer.times.execute = times.finished - times.started;
  servable_->metrics.queue.Observe(answer.times.queue);
  if (times.batch_rows > 0) {
    servable_->metrics.execute.Observe(answer.times.execute);
    if (times.leads) {
      servable_->metrics.batch_rows.Observe(times.batch_rows);
      servable_->metrics.runs(times.reason).Add();
    }
  } else if (RefusalIn(status)) {
    return Refuse(i, status);
  }
  absl::Status made = status;
  if (made.ok()) made = MakeClasses(outputs, answer);
  answer.times.postprocess = parts_.clock.Now() - times.finished;
  if (made.ok()) servable_->metrics.postprocess.Observe(answer.times.postprocess);
  FinishItem(i, made);
}

absl::Status Flight::MakeClasses(const std::vector<TensorView>& outputs, ItemAnswer& answer) const {
  const TensorView& scores = outputs[0];
  const auto classes = scores.bytes / sizeof(float);
  // What the trial run gave at load is what was promised to the caller.
  if (scores.type != DataType::kFloat32 ||
      scores.shape != servable_->model->signature().outputs[0].shape) {
    return absl::InternalError(absl::StrCat(
        "the model gave ", Name(scores.type), " ", ShapeText(scores.shape), " for these inputs; ",
        "expected ", ShapeText(servable_->model->signature().outputs[0].shape)));
  }
  const absl::Span<const float> row(static_cast<const float*>(scores.data), classes);
  answer.non_finite = !AllFinite(row);
  if (answer.non_finite && servable_->config.non_finite == NonFinite::kError) {
    return absl::InternalError(
        "the model's answer holds scores that are not numbers (NaN or infinite)");
  }
  answer.classes.reserve(static_cast<size_t>(top_k_.k));
  for (const ScoredClass& scored : TopK(row, top_k_)) {
    const auto index = static_cast<size_t>(scored.index);
    const bool labelled = index < servable_->labels.size();
    answer.classes.push_back(
        {scored.index, labelled ? absl::string_view(servable_->labels[index]) : absl::string_view(),
         scored.score});
  }
  return absl::OkStatus();
}

void Flight::FinishItem(size_t i, const absl::Status& status) {
  ItemAnswer& answer = items_[i].answer;
  answer.status = status;
  answer.times.total = parts_.clock.Now() - call_.arrival;
  servable_->metrics.request.Observe(answer.times.total);
  Stage stage = Stage::kUnderWay;
  const bool in_time = items_[i].stage.compare_exchange_strong(stage, Stage::kFinished);
  servable_->metrics.items(in_time ? status.code() : absl::StatusCode::kDeadlineExceeded).Add();
  if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) Complete();
}

// On the alarms' thread. What still waits has the same deadline; what runs is not waited for.
void Flight::AnswerTooLate() {
  if (answered_.exchange(true)) return;
  const auto after = std::chrono::ceil<std::chrono::milliseconds>(call_.answer_by - call_.arrival);
  const absl::Status late = absl::DeadlineExceededError(
      absl::StrCat("no answer within the timeout of ", after.count(), " ms"));
  std::vector<ItemAnswer> answers(items_.size());
  for (size_t i = 0; i < items_.size(); ++i) {
    Stage stage = Stage::kUnderWay;
    if (items_[i].stage.compare_exchange_strong(stage, Stage::kLate)) {
      answers[i].status = late;
      answers[i].times.total = call_.answer_by - call_.arrival;
    } else {
      answers[i] = std::move(items_[i].answer);
    }
  }
  Answer(std::move(answers));
}

void Flight::Complete() {
  if (alarm_) parts_.alarms.CallOff(*alarm_);
  if (answered_.exchange(true)) return;
  std::vector<ItemAnswer> answers;
  answers.reserve(items_.size());
  for (Item& item : items_) answers.push_back(std::move(item.answer));
  Answer(std::move(answers));
}

void Flight::Answer(std::vector<ItemAnswer> items) {
  ClassifyAnswer answer;
  answer.servable = servable_;
  if (items.size() == 1) answer.status = items[0].status;  // Such a call fails as a whole.
  answer.items = std::move(items);
  done_(std::move(answer));
}

}  // namespace torchd
