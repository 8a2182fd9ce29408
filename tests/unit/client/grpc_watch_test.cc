#include "client/grpc_watch.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "fake_transport.h"
#include "muster/v1/discovery.grpc.pb.h"

namespace muster::client {
namespace {

using testing::OneEndpoint;
using testing::Snapshot;

// Answers each subscription with a snapshot; "end" ends the stream.
class Answering : public v1::Discovery::Service {
 public:
  grpc::Status Watch(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::WatchResponse, v1::WatchRequest>* stream) override {
    v1::WatchRequest request;
    while (stream->Read(&request)) {
      if (request.subscribe().service() == "end") {
        return {grpc::StatusCode::UNAVAILABLE, "draining"};
      }
      if (!request.has_subscribe()) continue;
      const uint64_t sub_id = request.subscribe().sub_id();
      stream->Write(Snapshot(sub_id, {OneEndpoint("a", sub_id)}, sub_id));
    }
    return grpc::Status::OK;
  }
};

// What a stream told.
class Told {
 public:
  WatchTransport::Callbacks callbacks() {
    return {.on_event =
                [this](v1::WatchResponse event) {
                  base::MutexLock lock(mu_);
                  events_.push_back(std::move(event));
                  changed_.NotifyAll();
                },
            .on_end =
                [this](absl::Status status) {
                  base::MutexLock lock(mu_);
                  end_ = std::move(status);
                  changed_.NotifyAll();
                }};
  }
  // The next one; nullopt after twenty seconds.
  std::optional<v1::WatchResponse> Event() {
    base::MutexLock lock(mu_);
    while (events_.empty()) {
      if (!changed_.WaitFor(mu_, absl::Seconds(20))) return std::nullopt;
    }
    v1::WatchResponse event = std::move(events_.front());
    events_.pop_front();
    return event;
  }
  absl::Status End() {
    base::MutexLock lock(mu_);
    while (!end_) {
      if (!changed_.WaitFor(mu_, absl::Seconds(20))) return absl::OkStatus();
    }
    return *end_;
  }
  size_t waiting() const {
    base::MutexLock lock(mu_);
    return events_.size();
  }

 private:
  mutable base::Mutex mu_;
  base::CondVar changed_;
  std::deque<v1::WatchResponse> events_ MUSTER_GUARDED_BY(mu_);
  std::optional<absl::Status> end_ MUSTER_GUARDED_BY(mu_);
};

v1::WatchRequest Ask(uint64_t sub_id, const std::string& service) {
  v1::WatchRequest request;
  request.mutable_subscribe()->set_sub_id(sub_id);
  request.mutable_subscribe()->set_service(service);
  return request;
}

class GrpcWatchTest : public ::testing::Test {
 protected:
  GrpcWatchTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    transport_ = std::make_unique<GrpcWatchTransport>(
        std::vector<std::string>{absl::StrCat("127.0.0.1:", port), "127.0.0.1:1"}, Access{});
  }
  ~GrpcWatchTest() override { server_->Shutdown(); }

  Answering service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<GrpcWatchTransport> transport_;
};

TEST_F(GrpcWatchTest, RequestsAndEventsKeepTheirOrder) {
  Told told;
  const auto stream = transport_->Open(0, told.callbacks());
  for (uint64_t i = 1; i <= 100; ++i) stream->Write(Ask(i, "web"));
  for (uint64_t i = 1; i <= 100; ++i) {
    const auto event = told.Event();
    ASSERT_TRUE(event.has_value()) << i;
    EXPECT_EQ(event->sub_id(), i);
    EXPECT_EQ(told.waiting(), 0u) << "one at a time";
    stream->ReadNext();
  }
}

TEST_F(GrpcWatchTest, TheEndSaysWhy) {
  Told told;
  const auto stream = transport_->Open(0, told.callbacks());
  stream->Write(Ask(1, "end"));
  const absl::Status end = told.End();
  EXPECT_TRUE(absl::IsUnavailable(end)) << end;
  EXPECT_EQ(end.message(), "draining");
  stream->Write(Ask(2, "web"));
  stream->ReadNext();
}

TEST_F(GrpcWatchTest, AServerThatIsNotThereIsToldWithoutItsAddress) {
  Told told;
  const auto stream = transport_->Open(1, told.callbacks());
  stream->Write(Ask(1, "web"));
  const absl::Status end = told.End();
  EXPECT_TRUE(absl::IsUnavailable(end)) << end;
  EXPECT_EQ(end.message(), "can't connect: Connection refused");
}

TEST_F(GrpcWatchTest, StreamsMayBeDroppedAtAnyTime) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 25; ++i) {
        Told told;
        const auto stream = transport_->Open(t % 2, told.callbacks());
        stream->Write(Ask(1, "web"));
        if (i % 3 == 1) stream->Write(Ask(2, i % 2 == 0 ? "end" : "web"));
        if (i % 3 == 2 && t % 2 == 0) {
          EXPECT_TRUE(told.Event().has_value());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace muster::client
