// The least a gRPC service can do with a Classify request: receive it, answer nothing. What the
// same payload costs here is gRPC's own price, to which torchd's is compared.
//
// Usage: echo_server  (prints the port it listens on, serves until its standard input ends)

#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <memory>

#include "torchd/v1/inference.grpc.pb.h"

namespace {

// As large as torchd's.
torchd::v1::ClassifyResponse Answer() {
  torchd::v1::ClassifyResponse answer;
  answer.set_model("tiny");
  answer.set_version(1);
  torchd::v1::ClassifyResult& result = *answer.add_results();
  for (int i = 0; i < 3; ++i) {
    torchd::v1::Class& one = *result.add_classes();
    one.set_index(i + 1);
    one.set_probability(0.3F);
  }
  result.mutable_times()->set_execute_us(20);
  result.mutable_times()->set_total_us(40);
  return answer;
}

class Echo final : public torchd::v1::InferenceService::CallbackService {
  grpc::ServerUnaryReactor* Classify(grpc::CallbackServerContext* context,
                                     const torchd::v1::ClassifyRequest*,
                                     torchd::v1::ClassifyResponse* response) override {
    *response = answer_;
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  const torchd::v1::ClassifyResponse answer_ = Answer();
};

}  // namespace

int main() {
  Echo echo;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(64 * 1024 * 1024);
  builder.RegisterService(&echo);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  std::printf("%d\n", port);
  std::fflush(stdout);
  while (std::getchar() != EOF) continue;
  server->Shutdown();
  return 0;
}
