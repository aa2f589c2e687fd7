// The client library against a server in this process, which answers as a test says.
#include "client/include/torchd/client.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "torchd/v1/inference.grpc.pb.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using Clock = std::chrono::steady_clock;

struct Refusal {
  grpc::StatusCode code;
  std::string pushback_ms;  // Empty: none is sent.
};

// Answers each item with the class "yes".
class FakeService : public v1::InferenceService::Service {
 public:
  grpc::Status Classify(grpc::ServerContext* context, const v1::ClassifyRequest* request,
                        v1::ClassifyResponse* response) override ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    arrivals_.push_back(Clock::now());
    const auto named = context->client_metadata().find("torchd-client");
    if (named != context->client_metadata().end()) {
      client_ = std::string(named->second.data(), named->second.size());
    }
    if (!refusals_.empty()) {
      const Refusal refusal = refusals_.front();
      refusals_.pop_front();
      if (!refusal.pushback_ms.empty()) {
        context->AddTrailingMetadata("grpc-retry-pushback-ms", refusal.pushback_ms);
      }
      return {refusal.code, "as the test says"};
    }
    for (int i = 0; i < request->items_size(); ++i) {
      response->add_results()->add_classes()->set_label("yes");
    }
    return grpc::Status::OK;
  }

  void Refuse(std::deque<Refusal> refusals) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    refusals_ = std::move(refusals);
  }
  std::deque<Clock::time_point> arrivals() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return arrivals_;
  }
  std::string client() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return client_;
  }

 private:
  absl::Mutex mutex_;
  std::deque<Refusal> refusals_ ABSL_GUARDED_BY(mutex_);
  std::deque<Clock::time_point> arrivals_ ABSL_GUARDED_BY(mutex_);
  std::string client_ ABSL_GUARDED_BY(mutex_);
};

class FakeServer {
 public:
  FakeServer() {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    server_ = builder.BuildAndStart();
    address = absl::StrCat("127.0.0.1:", port);
  }
  ~FakeServer() { Stop(); }

  void Stop() { server_->Shutdown(std::chrono::system_clock::now()); }
  void Serve(bool serving) { server_->GetHealthCheckService()->SetServingStatus("", serving); }

  FakeService service;
  std::string address;

 private:
  std::unique_ptr<grpc::Server> server_;
};

// The states that a watch told.
class States {
 public:
  void Add(Health health) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    states_.push_back(health);
  }

  // Whether `health` is the last within a generous time.
  bool Ends(Health health) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    const auto last = [this, health]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return !states_.empty() && states_.back() == health;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&last), absl::Seconds(20));
  }

 private:
  absl::Mutex mutex_;
  std::deque<Health> states_ ABSL_GUARDED_BY(mutex_);
};

std::unique_ptr<Client> Connected(ClientOptions options) {
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(options);
  EXPECT_TRUE(client.ok()) << client.status();
  return client.ok() ? *std::move(client) : nullptr;
}

ClientOptions OptionsFor(const FakeServer& server) {
  ClientOptions options;
  options.addresses = {server.address};
  return options;
}

absl::Status Asked(Client& client, size_t bytes = 1) {
  return client.Classify({Image{std::string(bytes, 'x')}}, {.timeout = seconds(20)}).status();
}

class ClientTest : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "Debian's gRPC is not instrumented: its own threads would be reported";
#endif
  }
};
using HealthWatchTest = ClientTest;

TEST_F(ClientTest, AnswersEachItem) {
  FakeServer server;
  ClientOptions options = OptionsFor(server);
  options.client_name = "shop";
  const auto client = Connected(options);
  const absl::StatusOr<Classification> answer = client->Classify({Text{"a"}, Text{"b"}}, {});
  ASSERT_TRUE(answer.ok()) << answer.status();
  ASSERT_EQ(answer->items.size(), 2);
  EXPECT_EQ(answer->items[1].classes[0].label, "yes");
  EXPECT_EQ(server.service.client(), "shop");
}

TEST_F(ClientTest, TriesAgainWhatMayPass) {
  FakeServer server;
  const auto client = Connected(OptionsFor(server));
  server.service.Refuse(
      {{grpc::StatusCode::RESOURCE_EXHAUSTED, ""}, {grpc::StatusCode::UNAVAILABLE, ""}});
  EXPECT_TRUE(Asked(*client, 3'000'000).ok());  // More than gRPC would keep by itself.
  EXPECT_EQ(server.service.arrivals().size(), 3);
}

TEST_F(ClientTest, PausesAsTheServerSays) {
  FakeServer server;
  const auto client = Connected(OptionsFor(server));
  server.service.Refuse({{grpc::StatusCode::RESOURCE_EXHAUSTED, "400"}});
  EXPECT_TRUE(Asked(*client).ok());
  const auto arrivals = server.service.arrivals();
  ASSERT_EQ(arrivals.size(), 2);
  EXPECT_GE(arrivals[1] - arrivals[0], milliseconds(390));  // gRPC counts in whole milliseconds.
}

TEST_F(ClientTest, GivesUpWhereTheServerForbidsItOrNothingCanPass) {
  FakeServer server;
  const auto client = Connected(OptionsFor(server));
  server.service.Refuse({{grpc::StatusCode::RESOURCE_EXHAUSTED, "-1"}});
  EXPECT_EQ(Asked(*client), absl::ResourceExhaustedError("as the test says"));
  server.service.Refuse({{grpc::StatusCode::INVALID_ARGUMENT, ""}});
  EXPECT_EQ(Asked(*client), absl::InvalidArgumentError("as the test says"));
  EXPECT_EQ(server.service.arrivals().size(), 2);
}

TEST_F(ClientTest, OneAttemptIsOne) {
  FakeServer server;
  ClientOptions options = OptionsFor(server);
  options.attempts_max = 1;
  const auto client = Connected(options);
  server.service.Refuse({{grpc::StatusCode::UNAVAILABLE, ""}});
  const absl::Status status = Asked(*client);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(IsUnreachable(status));  // It spoke for itself.
}

TEST_F(ClientTest, SeveralServersTakeTurns) {
  FakeServer one;
  FakeServer two;
  ClientOptions options;
  options.addresses = {one.address, two.address};
  const auto client = Connected(options);
  // Which of them is connected first, nobody knows.
  for (int i = 0; i < 10'000 && two.service.arrivals().size() * one.service.arrivals().size() == 0;
       ++i) {
    ASSERT_TRUE(Asked(*client).ok());
  }
  const size_t before = one.service.arrivals().size();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(Asked(*client).ok());
  EXPECT_EQ(one.service.arrivals().size() - before, 5);
  two.Stop();
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(Asked(*client).ok());
}

TEST_F(ClientTest, SaysThatNobodyIsThere) {
  ClientOptions options;
  {
    FakeServer gone;
    options = OptionsFor(gone);
  }
  const absl::Status status = Client::Connect(options).status();
  EXPECT_TRUE(IsUnreachable(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr(options.addresses[0]));
}

TEST_F(HealthWatchTest, TellsEachChangeUntilTheServerIsGone) {
  FakeServer server;
  server.Serve(true);
  const auto client = Connected(OptionsFor(server));
  States states;
  const auto watch = client->WatchHealth("", [&states](Health health) { states.Add(health); });
  EXPECT_TRUE(states.Ends(Health::kServing));
  server.Serve(false);
  EXPECT_TRUE(states.Ends(Health::kNotServing));
  server.Serve(true);
  EXPECT_TRUE(states.Ends(Health::kServing));
  server.Stop();
  EXPECT_TRUE(states.Ends(Health::kUnreachable));
}

TEST_F(HealthWatchTest, KnowsNotEveryService) {
  FakeServer server;
  const auto client = Connected(OptionsFor(server));
  States states;
  const auto watch = client->WatchHealth("no", [&states](Health health) { states.Add(health); });
  EXPECT_TRUE(states.Ends(Health::kUnknownService));
}

TEST_F(HealthWatchTest, EndsAtOnceAndMayOutliveItsClient) {
  FakeServer server;
  auto client = Connected(OptionsFor(server));
  for (int i = 0; i < 50; ++i) client->WatchHealth("", [](Health) {});
  States states;
  auto watch = client->WatchHealth("", [&states](Health health) { states.Add(health); });
  client.reset();
  EXPECT_TRUE(states.Ends(Health::kServing));
  watch.reset();  // Or the test runs into its limit.
}

}  // namespace
}  // namespace torchd
