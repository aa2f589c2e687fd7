#include "client/classify_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

namespace torchd {
namespace {

using testing::HasSubstr;

// What a run printed.
class Sink {
 public:
  Sink() : file_(open_memstream(&data_, &size_)) {}
  ~Sink() {
    std::fclose(file_);
    std::free(data_);
  }
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  std::FILE* file() { return file_; }
  std::string text() {
    std::fflush(file_);
    return {data_, size_};
  }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
  std::FILE* file_;
};

// A server that answers each item with a class called like the item's bytes.
class Echo {
 public:
  absl::StatusOr<v1::ClassifyResponse> operator()(const v1::ClassifyRequest& request)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      ++calls;
      in_flight_max = std::max(in_flight_max, ++in_flight_);
    }
    absl::StatusOr<v1::ClassifyResponse> answer = Answer(request);
    if (wait_for_calls > 0) {
      // Until so many came at once, or a second passed: then the test fails by what it expects.
      absl::MutexLock lock(&mutex_);
      const auto enough = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return calls >= wait_for_calls;
      };
      mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(1));
    }
    absl::MutexLock lock(&mutex_);
    --in_flight_;
    return answer;
  }

  std::function<absl::Status(const v1::ClassifyRequest&)> refuse;
  int wait_for_calls = 0;
  int calls = 0;  // Read once the run is over.
  int in_flight_max = 0;

 private:
  absl::StatusOr<v1::ClassifyResponse> Answer(const v1::ClassifyRequest& request) const {
    if (refuse) {
      absl::Status status = refuse(request);
      if (!status.ok()) return status;
    }
    v1::ClassifyResponse response;
    response.set_model("echo");
    response.set_version(1);
    for (const v1::ClassifyItem& item : request.items()) {
      v1::ClassifyResult& result = *response.add_results();
      if (item.image() == "bad") {
        result.mutable_error()->set_code(3);
        result.mutable_error()->set_message("no image");
        continue;
      }
      result.add_classes()->set_label(absl::StrCat("is-", item.image()));
    }
    return response;
  }

  absl::Mutex mutex_;
  int in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
};

class ClassifyRunTest : public testing::Test {
 protected:
  // Files whose contents are their names.
  ExitCode Run() {
    const auto read = [](const std::string& input) -> absl::StatusOr<std::string> {
      if (input == "missing") return absl::InvalidArgumentError("cannot read 'missing'");
      return input;
    };
    const auto ask = [this](const v1::ClassifyRequest& request) { return echo_(request); };
    return ClassifyRun(arguments_, ask, read, out_.file(), err_.file()).Run();
  }

  void Inputs(int count) {
    for (int i = 0; i < count; ++i) arguments_.inputs.push_back(absl::StrCat("f", i));
  }

  Arguments arguments_;
  Echo echo_;
  Sink out_;
  Sink err_;
};

TEST_F(ClassifyRunTest, AnswersComeInTheOrderOfTheInputs) {
  Inputs(100);
  arguments_.csv = true;
  EXPECT_EQ(Run(), kFine);
  EXPECT_EQ(echo_.calls, 7);  // 16 items each.
  const std::string out = out_.text();
  size_t at = 0;
  for (int i = 0; i < 100; ++i) {
    const size_t next = out.find(absl::StrCat("\nf", i, ",echo,1,1,0,is-f", i, ","), at);
    ASSERT_NE(next, std::string::npos) << i;
    at = next + 1;
  }
}

TEST_F(ClassifyRunTest, AsManyCallsAsJobsAreInFlight) {
  Inputs(16 * 8);
  arguments_.jobs = 3;
  arguments_.json = true;
  echo_.wait_for_calls = 3;
  EXPECT_EQ(Run(), kFine);
  EXPECT_EQ(echo_.calls, 8);
  EXPECT_EQ(echo_.in_flight_max, 3);
}

TEST_F(ClassifyRunTest, ABadItemCostsNoOther) {
  arguments_.inputs = {"a", "bad", "b"};
  arguments_.json = true;
  EXPECT_EQ(Run(), kServerError);
  EXPECT_THAT(out_.text(), HasSubstr("is-b"));
  EXPECT_EQ(err_.text(), "torchctl: INVALID_ARGUMENT: bad: no image\n");
}

TEST_F(ClassifyRunTest, WhatMayPassIsSaidToMayPass) {
  Inputs(2);
  echo_.refuse = [](const auto&) { return absl::ResourceExhaustedError("full"); };
  EXPECT_EQ(Run(), kTryLater);
  EXPECT_EQ(err_.text(), "torchctl: RESOURCE_EXHAUSTED: full\n");
}

TEST_F(ClassifyRunTest, ARefusedCallSaysNothingOfTheNext) {
  Inputs(32);
  arguments_.jobs = 1;
  arguments_.csv = true;
  echo_.refuse = [](const v1::ClassifyRequest& request) {
    return request.items(0).image() == "f0" ? absl::InternalError("broken") : absl::OkStatus();
  };
  EXPECT_EQ(Run(), kServerError);
  EXPECT_THAT(out_.text(), HasSubstr("\nf15,,,,,,,INTERNAL,broken\n"));
  EXPECT_THAT(out_.text(), HasSubstr("is-f16"));
}

TEST_F(ClassifyRunTest, WhatWasSentIsAnsweredWhereTheNextCannotBeRead) {
  Inputs(16);
  arguments_.inputs.emplace_back("more");
  arguments_.inputs.emplace_back("missing");
  arguments_.inputs.emplace_back("never");
  EXPECT_EQ(Run(), kWrongUsage);
  EXPECT_EQ(echo_.calls, 1);
  EXPECT_THAT(out_.text(), HasSubstr("is-f15"));
  EXPECT_THAT(err_.text(), HasSubstr("cannot read 'missing'"));
}

}  // namespace
}  // namespace torchd
