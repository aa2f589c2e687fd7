// Puts load on a torchd and says what came of it. How to use it: kHelp, below, or --help.
//
// Open loop: Poisson arrivals at a rate that no answer changes, latencies counted from the moment a
// call was planned for. Closed loop: so many calls in flight, the next one when one is answered.

#include <grpcpp/grpcpp.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "bench/load_arguments.h"
#include "bench/load_calls.h"
#include "bench/load_payload.h"
#include "bench/load_report.h"
#include "torchd/v1/admin.grpc.pb.h"

namespace torchd::bench {
namespace {

constexpr char kHelp[] = R"(load_generator puts load on a torchd and says what came of it.

  load_generator --target HOST:PORT --model NAME --phases 100x10,300x60   open loop
  load_generator --target HOST:PORT --model NAME --concurrency 16 --seconds 10   closed loop

What is sent:
  --target HOST:PORT   the torchd
  --model NAME[:WEIGHT]  the model; several, each with its weight, are mixed at random
  --fill ones|random   the elements of the tensors, whose sizes ListModels tells; default ones
  --length L           for sizes that the model leaves open; default 16
  --echo HOST:PORT     an echo_server as one more part of the mix, by the name "echo", which is sent
                       the first model's request
  --bytes N            without --target and --model: what the echo server is sent

When it is sent:
  --phases RATExSECONDS,...  open loop: Poisson arrivals at RATE calls a second (0: a pause), one
                       phase after the other without a gap
  --concurrency N --seconds S  closed loop: N calls in flight
  --in-flight-max N    a planned call beyond so many is counted as not sent; default 20000
  --deadline-ms D      gRPC deadline, from the planned time; default 0: none
  --clients K          K connections, with metadata `torchd-client: client-0` and so on; default 1
  --greedy R           client 0 sends R times what each other client sends; default 1
  --seed N             of arrivals, mix and random tensors; default 1

What is said:
  --json FILE          all numbers, "-" on standard output; without it a table

Latencies count from the planned time. Exit code: 0 the run was made, whatever the server answered;
1 it was not; 2 wrong usage.
)";

constexpr std::chrono::seconds kConnectMax{10};
constexpr char kEcho[] = "echo";

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // A connection of its own.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);             // A refusal is an answer here.
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

absl::StatusOr<std::vector<std::shared_ptr<grpc::Channel>>> Connect(const std::string& address,
                                                                    int clients) {
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (int i = 0; i < clients; ++i) {
    channels.push_back(OpenChannel(address));
    if (!channels.back()->WaitForConnected(std::chrono::system_clock::now() + kConnectMax)) {
      return absl::UnavailableError(absl::StrCat("nobody answers at ", address));
    }
  }
  return channels;
}

absl::StatusOr<std::string> ModelRequest(const std::shared_ptr<grpc::Channel>& channel,
                                         const std::string& model, const LoadArguments& arguments) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kConnectMax);
  v1::ListModelsRequest question;
  question.set_model(model);
  v1::ListModelsResponse listing;
  const grpc::Status status =
      v1::AdminService::NewStub(channel)->ListModels(&context, question, &listing);
  if (!status.ok()) {
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  }
  const Fill fill{arguments.random_fill, arguments.seed, arguments.length};
  absl::StatusOr<v1::ClassifyRequest> request = RequestFor(model, listing, fill);
  if (!request.ok()) return request.status();
  return request->SerializeAsString();
}

// The mix: `destinations`, and in the record and `weights` what belongs to each.
struct Mix {
  std::vector<Destination> destinations;
  std::vector<double> weights;

  void Add(const std::string& name, double weight, const std::string& request,
           const std::vector<std::shared_ptr<grpc::Channel>>& channels, LoadRecord& record) {
    const grpc::Slice slice(request);
    Destination destination{{}, grpc::ByteBuffer(&slice, 1)};
    for (const auto& channel : channels) {
      destination.stubs.emplace_back(channel);
    }
    destinations.push_back(std::move(destination));
    weights.push_back(weight);
    record.models.push_back(name);
    record.request_bytes.push_back(request.size());
  }
};

absl::StatusOr<Mix> MakeMix(const LoadArguments& arguments, LoadRecord& record) {
  Mix mix;
  std::string first;  // The request that an echo server is sent, too.
  if (!arguments.models.empty()) {
    const auto channels = Connect(arguments.target, arguments.clients);
    if (!channels.ok()) return channels.status();
    for (const MixPart& model : arguments.models) {
      const auto request = ModelRequest((*channels)[0], model.name, arguments);
      if (!request.ok()) return request.status();
      if (first.empty()) first = *request;
      mix.Add(model.name, model.weight, *request, *channels, record);
    }
  }
  if (!arguments.echo.empty()) {
    if (arguments.echo_bytes) first = EchoRequest(*arguments.echo_bytes).SerializeAsString();
    const auto channels = Connect(arguments.echo, arguments.clients);
    if (!channels.ok()) return channels.status();
    mix.Add(kEcho, 1, first, *channels, record);
  }
  return mix;
}

Duration ProcessorTime() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::chrono::seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         std::chrono::microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

// The client of each call that a closed loop keeps in flight.
std::vector<int> DealOut(int calls, const std::vector<double>& client_weights) {
  const WeightedChoice choice(client_weights);
  std::vector<int> clients;
  clients.reserve(calls);
  for (int i = 0; i < calls; ++i) clients.push_back(choice.At((i + 0.5) / calls));
  return clients;
}

void RunLoad(const LoadArguments& arguments, Mix mix, LoadRecord& record) {
  std::vector<double> client_weights(arguments.clients, 1.0);
  client_weights[0] = arguments.greedy;
  const int in_flight_max = std::max(arguments.in_flight_max, arguments.concurrency);
  LoadCalls calls(std::move(mix.destinations), {arguments.deadline, in_flight_max});
  const Instant begin = std::chrono::steady_clock::now();
  const Duration processor_time = ProcessorTime();
  if (record.closed) {
    const auto length = std::chrono::duration<double>(arguments.seconds);
    calls.RunClosed(DealOut(arguments.concurrency, client_weights), mix.weights,
                    std::chrono::duration_cast<Duration>(length), arguments.seed);
  } else {
    calls.RunOpen(ArrivalPlan(record.phases, mix.weights, client_weights, arguments.seed));
  }
  record.processor_time = ProcessorTime() - processor_time;
  record.wall = std::chrono::steady_clock::now() - begin;
  record.samples = calls.TakeSamples();
  record.not_sent = calls.TakeNotSent();
}

absl::Status Report(const LoadArguments& arguments, const LoadRecord& record) {
  if (arguments.json.empty() || arguments.json == "-") {
    const std::string text = arguments.json.empty() ? LoadTable(record) : LoadJson(record);
    return std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0
               ? absl::DataLossError("cannot write to standard output")
               : absl::OkStatus();
  }
  std::ofstream file(arguments.json);
  file << LoadJson(record) << std::flush;
  return file ? absl::OkStatus() : absl::DataLossError("cannot write " + arguments.json);
}

absl::Status Main(const LoadArguments& arguments) {
  LoadRecord record;
  record.closed = arguments.phases.empty();
  record.concurrency = arguments.concurrency;
  record.phases = record.closed ? std::vector<Phase>{{0, arguments.seconds}} : arguments.phases;
  record.clients = arguments.clients;
  record.greedy = arguments.greedy;
  record.deadline = arguments.deadline;
  record.seed = arguments.seed;
  absl::StatusOr<Mix> mix = MakeMix(arguments, record);
  if (!mix.ok()) return mix.status();
  RunLoad(arguments, *std::move(mix), record);
  if (record.closed && record.samples.size() >= kCallsMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("more than ", kCallsMax, " calls within --seconds; expected fewer"));
  }
  return Report(arguments, record);
}

}  // namespace
}  // namespace torchd::bench

int main(int argc, char** argv) {
  const auto arguments =
      torchd::bench::ParseLoadArguments(std::vector<std::string>(argv + 1, argv + argc));
  if (!arguments.ok()) {
    std::fprintf(stderr, "load_generator: %s\n", std::string(arguments.status().message()).c_str());
    return 2;
  }
  if (arguments->help) {
    std::fputs(torchd::bench::kHelp, stdout);
    return 0;
  }
  const absl::Status status = torchd::bench::Main(*arguments);
  if (status.ok()) return 0;
  std::fprintf(stderr, "load_generator: %s\n", std::string(status.message()).c_str());
  return 1;
}
