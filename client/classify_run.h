// One run of `torchctl classify`: inputs in, calls out, a bounded number of them at a time, answers
// shown in the order of the inputs.
//
// Thread-safety: Run() on one thread; the function that asks is called on several at once.
// Ownership: what the constructor borrows must outlive it.
#pragma once

#include <cstddef>
#include <cstdio>
#include <deque>
#include <functional>
#include <future>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/arguments.h"
#include "client/exit_code.h"
#include "client/progress.h"
#include "client/result.h"
#include "torchd/v1/inference.pb.h"

namespace torchd {

class ClassifyRun {
 public:
  using Ask = std::function<absl::StatusOr<v1::ClassifyResponse>(const v1::ClassifyRequest&)>;
  // The bytes of an image, or a text.
  using Read = std::function<absl::StatusOr<std::string>(const std::string& input)>;

  // `arguments.inputs`: files, not folders or patterns. `out`, `err`: where tables and errors go.
  ClassifyRun(const Arguments& arguments, Ask ask, Read read, std::FILE* out, std::FILE* err);

  // Stops early when there is nothing to read or nobody to ask; a call that the server refused says
  // nothing about the next one.
  ExitCode Run();

 private:
  struct Call {
    std::vector<std::string> names;  // Of its items.
    std::future<absl::StatusOr<v1::ClassifyResponse>> answer;
  };

  size_t PairBytes() const { return arguments_.pair ? arguments_.pair->size() : 0; }
  void SendAll();
  void Add(const std::string& input, std::string content);
  void Send();        // What Add() gathered, once there is a place for it.
  void ShowOldest();  // Waits for it.
  void Show(InputResult result);
  void ShowFailedCall(const std::vector<std::string>& names, const absl::Status& status);
  void ShowProgress();
  void Fail(const absl::Status& status, const std::string& about);

  const Arguments& arguments_;
  const Ask ask_;
  const Read read_;
  std::FILE* const out_;
  std::FILE* const err_;
  const std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  v1::ClassifyRequest request_;
  CallSize size_;
  std::vector<std::string> names_;  // Of the items in `request_`.
  std::deque<Call> calls_;          // In flight, at most arguments_.jobs.
  std::vector<InputResult> results_;
  size_t shown_ = 0;
  size_t failed_ = 0;
  ExitCode exit_code_ = kFine;
  ProgressLineShown progress_;
};

// Says on `err` what went wrong with a whole call.
ExitCode ShowFailure(const absl::Status& status, std::FILE* err);

}  // namespace torchd
