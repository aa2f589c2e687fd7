#include "server/rpc/inference_service.h"

#include <grpcpp/grpcpp.h>

#include <memory>
#include <thread>

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

  using Stream = grpc::ClientReaderWriter<v1::ClassifyStreamRequest, v1::ClassifyStreamResponse>;

  std::unique_ptr<Stream> Open(grpc::ClientContext& context) {
    stub_ = v1::InferenceService::NewStub(
        grpc::CreateChannel(rpc_->address(), grpc::InsecureChannelCredentials()));
    return stub_->ClassifyStream(&context);
  }

  static bool Send(Stream& stream, uint64_t id) {
    v1::ClassifyStreamRequest request;
    request.set_id(id);
    request.mutable_request()->set_model("dog");
    request.mutable_request()->add_items()->set_text("x");
    return stream.Write(request);
  }

  SteadyClock clock_;
  ServerMetrics metrics_{{"0", "0"}};
  Executors executors_{{.device = "cpu", .threads = 1}, clock_};
  Registry registry_{RegistryParts()};
  Preparers preparers_{{}, clock_};
  Classifier classifier_{{registry_, executors_, preparers_, metrics_, clock_}};
  InferenceService service_{classifier_, metrics_, clock_};
  std::unique_ptr<RpcServer> rpc_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

TEST_F(InferenceServiceTest, RefusalsWhileDrainingAreCounted) {
  EXPECT_EQ(Classify().error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(metrics_.refused(Refusal::kDraining).value(), 0u);
  service_.Refuse();
  EXPECT_EQ(Classify().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(metrics_.refused(Refusal::kDraining).value(), 1u);
  EXPECT_EQ(metrics_.refused(Refusal::kUnknownModel).value(), 1u);
}

TEST_F(InferenceServiceTest, AStreamAnswersEachRequestByItsId) {
  grpc::ClientContext context;
  const auto stream = Open(context);
  for (uint64_t id = 0; id < 500; ++id) {
    ASSERT_TRUE(Send(*stream, id));
    v1::ClassifyStreamResponse response;
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.id(), id);
    EXPECT_EQ(response.error().code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_FALSE(response.has_response());
  }
  stream->WritesDone();
  v1::ClassifyStreamResponse none;
  EXPECT_FALSE(stream->Read(&none));
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(service_.calls(), 500);
  while (service_.in_flight() > 0) std::this_thread::yield();
}

TEST_F(InferenceServiceTest, AStreamThatIsOpenWhileDrainingIsToldSo) {
  grpc::ClientContext context;
  const auto stream = Open(context);
  service_.Refuse();
  ASSERT_TRUE(Send(*stream, 7));
  v1::ClassifyStreamResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.id(), 7u);
  EXPECT_EQ(response.error().code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(metrics_.refused(Refusal::kDraining).value(), 1u);
  while (service_.in_flight() > 0) std::this_thread::yield();
}

// Clients come and go at every moment of a stream.
TEST_F(InferenceServiceTest, StreamsEndWheneverTheirClientsLeave) {
  for (int round = 0; round < 200; ++round) {
    grpc::ClientContext context;
    const auto stream = Open(context);
    for (int i = 0; i < round % 7; ++i) Send(*stream, static_cast<uint64_t>(i));
    v1::ClassifyStreamResponse response;
    for (int i = 0; i < round % 3 && i < round % 7; ++i) stream->Read(&response);
    if (round % 2 == 0) stream->WritesDone();
    context.TryCancel();
    stream->Finish();
  }
  while (service_.in_flight() > 0) std::this_thread::yield();
  rpc_->Shutdown(std::chrono::seconds(10));
}

}  // namespace
}  // namespace torchd
