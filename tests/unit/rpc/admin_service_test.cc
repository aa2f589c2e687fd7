// The calls that change models, over a server and a channel as clients have them.
#include "server/rpc/admin_service.h"

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/rpc_server.h"
#include "tests/unit/registry/registry_fixture.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Code = grpc::StatusCode;

class AdminServiceTest : public RegistryFixture {
 protected:
  static void SetUpTestSuite() { RpcServer::PrepareProcess(); }
  void SetUp() override {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "Debian's gRPC is not instrumented: its own threads would be reported";
#endif
  }

  ~AdminServiceTest() override {
    if (server_ != nullptr) server_->Shutdown(std::chrono::seconds(10));
  }

  void Start(ControlMode mode) {
    on_demand_ = mode == ControlMode::kExplicit;
    RepositorySource::Options where;
    where.repository = repository_.path();
    source_.emplace(where, registry(), clock_);
    RepositoryControl::Options options;
    options.mode = mode;
    control_.emplace(options, *source_, registry());
    ASSERT_TRUE(control_->Start(Scan(repository_)).ok());
    SettleAll();
    admin_.emplace(
        registry(), *control_, [](v1::GetServerStatusResponse&) {}, [](const Lane&) { return 0; });
    auto server = RpcServer::Start({"127.0.0.1:0", 1 << 20}, {&*admin_});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::AdminService::NewStub(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  }

  // The call, by its method of the stub, and what it answers: "1 READY", version by version.
  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (v1::AdminService::Stub::*method)(grpc::ClientContext*,
                                                                   const Request&, Response*),
                    const std::string& model) {
    grpc::ClientContext context;
    Request request;
    request.set_model(model);
    Response response;
    const grpc::Status status = (*stub_.*method)(&context, request, &response);
    answer_.clear();
    for (const v1::ModelVersion& version : response.models()) {
      EXPECT_EQ(version.name(), model);
      answer_.push_back(absl::StrCat(version.version(), " ", VersionState_Name(version.state())));
    }
    return status;
  }
  grpc::Status Load(const std::string& model) {
    return Call(&v1::AdminService::Stub::LoadModel, model);
  }
  grpc::Status Unload(const std::string& model) {
    return Call(&v1::AdminService::Stub::UnloadModel, model);
  }
  grpc::Status Reload(const std::string& model) {
    return Call(&v1::AdminService::Stub::ReloadModel, model);
  }
  grpc::Status List(const std::string& model) {
    return Call(&v1::AdminService::Stub::ListModels, model);
  }

  // Holds every load until opened.
  void HoldLoads() {
    on_load_ = [this](const std::string&) {
      if (!reached_.HasBeenNotified()) reached_.Notify();
      open_.WaitForNotification();
    };
  }

  absl::Notification reached_, open_;
  std::vector<std::string> answer_;
  std::optional<RepositorySource> source_;
  std::optional<RepositoryControl> control_;
  std::optional<AdminService> admin_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<v1::AdminService::Stub> stub_;
};

TEST_F(AdminServiceTest, ChangesAnswerTheModelsVersionsAsTheyAreThen) {
  Add("cat/1", "one");
  Add("cat/2", "two");
  Add("dog/1");
  Start(ControlMode::kExplicit);
  ASSERT_TRUE(Load("cat").ok());
  EXPECT_THAT(answer_, ElementsAre("1 VERSION_STATE_UNKNOWN", "2 VERSION_STATE_READY"));
  ASSERT_TRUE(Reload("cat").ok());
  EXPECT_THAT(answer_, ElementsAre("1 VERSION_STATE_UNKNOWN", "2 VERSION_STATE_READY"));
  EXPECT_THAT(Loads(), ElementsAre("two", "two"));
  ASSERT_TRUE(Unload("cat").ok());
  EXPECT_THAT(answer_, ElementsAre("1 VERSION_STATE_UNKNOWN", "2 VERSION_STATE_UNAVAILABLE"));
}

TEST_F(AdminServiceTest, RefusalsKeepTheirCodeAndReason) {
  Add("good/1");
  Add("bad/1", "broken");
  Start(ControlMode::kExplicit);
  const struct {
    grpc::Status status;
    Code code;
    const char* reason;
  } cases[] = {
      {Load("../bad"), Code::INVALID_ARGUMENT, "is no model name"},
      {Unload(""), Code::INVALID_ARGUMENT, "is no model name"},
      {Load("eel"), Code::NOT_FOUND, "no model 'eel'"},
      {Unload("eel"), Code::NOT_FOUND, "no model 'eel'"},
      {Reload("eel"), Code::NOT_FOUND, "no model 'eel'"},
      {Reload("good"), Code::FAILED_PRECONDITION, "'good' is not loaded"},
      {Load("bad"), Code::FAILED_PRECONDITION, "LibTorch rejects it"},
  };
  for (const auto& test : cases) {
    EXPECT_EQ(test.status.error_code(), test.code) << test.reason;
    EXPECT_THAT(test.status.error_message(), HasSubstr(test.reason));
  }
}

TEST_F(AdminServiceTest, WhatTheModeForbidsIsSaid) {
  Add("cat/1");
  Start(ControlMode::kFixed);
  Add("late/1");
  EXPECT_EQ(Load("late").error_code(), Code::FAILED_PRECONDITION);
  EXPECT_EQ(Unload("cat").error_code(), Code::FAILED_PRECONDITION);
  EXPECT_TRUE(Reload("cat").ok());
}

TEST_F(AdminServiceTest, ChangesAreUnavailableOnceTheServerStops) {
  Add("cat/1");
  Start(ControlMode::kExplicit);
  registry().StopLoading();
  for (const grpc::Status& status : {Load("cat"), Unload("cat"), Reload("cat")}) {
    EXPECT_EQ(status.error_code(), Code::UNAVAILABLE);
    EXPECT_THAT(status.error_message(), HasSubstr("the server is stopping"));
  }
}

// gRPC's threads wait for no load.
TEST_F(AdminServiceTest, OtherCallsAreAnsweredMeanwhile) {
  for (const char* const name : {"a", "b", "c", "d"}) Add(std::string(name) + "/1");
  Start(ControlMode::kExplicit);
  HoldLoads();
  std::vector<std::thread> callers;
  for (const char* const name : {"a", "b", "c", "d"}) {
    callers.emplace_back([this, name] {
      grpc::ClientContext context;
      v1::LoadModelRequest request;
      request.set_model(name);
      v1::ModelChangeResponse response;
      EXPECT_TRUE(stub_->LoadModel(&context, request, &response).ok());
    });
  }
  reached_.WaitForNotification();
  while (State("d", 1) != VersionState::kLoading) std::this_thread::yield();
  EXPECT_TRUE(List("d").ok());
  EXPECT_THAT(answer_, ElementsAre("1 VERSION_STATE_LOADING"));
  open_.Notify();
  for (std::thread& caller : callers) caller.join();
}

// The answer's messages live until the change ends, though nobody waits for it any more.
TEST_F(AdminServiceTest, AChangeGoesOnWhenItsCallerLeaves) {
  Add("cat/1");
  Start(ControlMode::kExplicit);
  HoldLoads();
  grpc::ClientContext context;
  grpc::Status status;
  std::thread caller([&] {
    v1::LoadModelRequest request;
    request.set_model("cat");
    v1::ModelChangeResponse response;
    status = stub_->LoadModel(&context, request, &response);
  });
  reached_.WaitForNotification();
  context.TryCancel();
  caller.join();
  EXPECT_EQ(status.error_code(), Code::CANCELLED);
  open_.Notify();
  Settle("cat");
  EXPECT_TRUE(List("cat").ok());
  EXPECT_THAT(answer_, ElementsAre("1 VERSION_STATE_READY"));
}

}  // namespace
}  // namespace torchd
