#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <csignal>
#include <iostream>
#include <string>

#include "absl/synchronization/mutex.h"
#include "muster/v1/registry.pb.h"
#include "proto/yardstick.grpc.pb.h"
#include "tests/bench/yardstick/bare_store.h"
#include "tests/bench/yardstick/broadcast.h"

namespace muster::bench {
namespace {

using Handlers =
    v1::Yardstick::WithRawCallbackMethod_Empty<v1::Yardstick::WithRawCallbackMethod_Register<
        v1::Yardstick::WithRawCallbackMethod_Echo<v1::Yardstick::WithRawCallbackMethod_Follow<
            v1::Yardstick::WithRawCallbackMethod_Publish<v1::Yardstick::Service>>>>>;

// gRPC ends the program when a reply has no slice.
grpc::ByteBuffer EmptyReply() {
  const grpc::Slice slice;
  return {&slice, 1};
}

class EchoReactor : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  EchoReactor() { StartRead(&message_); }
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    StartWrite(&message_);
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    StartRead(&message_);
  }
  void OnDone() override { delete this; }

 private:
  grpc::ByteBuffer message_;
};

class YardstickService : public Handlers {
 public:
  explicit YardstickService(BareStore& store) : store_(store) {}

  grpc::ServerUnaryReactor* Empty(grpc::CallbackServerContext* context, const grpc::ByteBuffer*,
                                  grpc::ByteBuffer* response) override {
    *response = EmptyReply();
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    *response = EmptyReply();
    muster::v1::RegisterRequest parsed;
    grpc::ByteBuffer bytes(*request);
    if (!grpc::SerializationTraits<muster::v1::RegisterRequest>::Deserialize(&bytes, &parsed)
             .ok()) {
      reactor->Finish({grpc::StatusCode::INVALID_ARGUMENT, "unreadable"});
      return reactor;
    }
    const muster::v1::Instance& instance = parsed.instance();
    store_.Put(instance.service() + '\0' + instance.id(), instance.SerializeAsString(),
               [reactor](bool written) {
                 reactor->Finish(written ? grpc::Status::OK
                                         : grpc::Status(grpc::StatusCode::UNAVAILABLE, "disk"));
               });
    return reactor;
  }

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Echo(
      grpc::CallbackServerContext*) override {
    return new EchoReactor;
  }

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Follow(
      grpc::CallbackServerContext*) override {
    return broadcast_.Follow();
  }

  grpc::ServerUnaryReactor* Publish(grpc::CallbackServerContext* context,
                                    const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response) override {
    *response = EmptyReply();
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(broadcast_.Publish(*request));
    return reactor;
  }

 private:
  BareStore& store_;
  Broadcast broadcast_;
};

int Serve(const std::string& dir) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // as musterd
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  BareStore store(dir);
  YardstickService service(store);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  if (server == nullptr || port == 0) return 1;
  std::cout << "ready 127.0.0.1:" << port << std::endl;
  int signal = 0;
  sigwait(&signals, &signal);
  server->Shutdown();
  return 0;
}

}  // namespace
}  // namespace muster::bench

int main(int argc, char** argv) {
  if (argc == 2) return muster::bench::Serve(argv[1]);
  std::cerr << "usage: muster_yardstick DIR\n";
  return 2;
}
