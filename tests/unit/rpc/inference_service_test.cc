#include "server/rpc/inference_service.h"

#include <grpcpp/grpcpp.h>

#include <memory>

#include "gtest/gtest.h"
#include "server/rpc/rpc_server.h"

namespace torchd {
namespace {

// The service on a free port of this machine, before a server without models.
class InferenceServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "Debian's gRPC is not instrumented: its own threads would be reported";
#endif
    rpc_ = *RpcServer::Start({.address = "127.0.0.1:0", .message_bytes_max = 1 << 20}, {&service_});
  }

  Registry::Parts RegistryParts() {
    Registry::Parts parts;
    parts.on_change = [](const std::string&, bool) {};
    parts.metrics = &metrics_;
    parts.clock = &clock_;
    return parts;
  }

  grpc::Status Classify() const {
    const auto stub = v1::InferenceService::NewStub(
        grpc::CreateChannel(rpc_->address(), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    v1::ClassifyRequest request;
    request.set_model("dog");
    request.add_items()->set_text("x");
    v1::ClassifyResponse response;
    return stub->Classify(&context, request, &response);
  }

  SteadyClock clock_;
  ServerMetrics metrics_{{"0", "0"}};
  Executors executors_{{.device = "cpu", .threads = 1}, clock_};
  Registry registry_{RegistryParts()};
  Preparers preparers_{{}, clock_};
  Classifier classifier_{{registry_, executors_, preparers_, metrics_, clock_}};
  InferenceService service_{classifier_, metrics_, clock_};
  std::unique_ptr<RpcServer> rpc_;
};

TEST_F(InferenceServiceTest, RefusalsWhileDrainingAreCounted) {
  EXPECT_EQ(Classify().error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(metrics_.refused(Refusal::kDraining).value(), 0u);
  service_.Refuse();
  EXPECT_EQ(Classify().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(metrics_.refused(Refusal::kDraining).value(), 1u);
  EXPECT_EQ(metrics_.refused(Refusal::kUnknownModel).value(), 1u);
}

}  // namespace
}  // namespace torchd
