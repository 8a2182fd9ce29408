#include "tests/bench/watchers.h"

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "muster/v1/discovery.pb.h"
#include "tests/support/process.h"

namespace muster::bench {
namespace {

constexpr size_t kThreads = 2;
constexpr absl::Duration kPatience = absl::Seconds(60);

}  // namespace

// How many streams lack something, and since when none does.
struct OpenStreams::Awaited {
  mutable base::Mutex mu;  // after a thread's
  base::CondVar changed;
  size_t lacking MUSTER_GUARDED_BY(mu) = 0;
  absl::Time last MUSTER_GUARDED_BY(mu);
  absl::Status failed MUSTER_GUARDED_BY(mu);

  void Add(size_t streams) {
    base::MutexLock lock(mu);
    lacking += streams;
  }
  void Complete() {
    base::MutexLock lock(mu);
    if (--lacking > 0) return;
    last = test::Now();
    changed.NotifyAll();
  }
  void Fail(const absl::Status& status) {
    base::MutexLock lock(mu);
    failed.Update(status);
    changed.NotifyAll();
  }
  absl::StatusOr<absl::Time> Await() {
    const absl::Time deadline = test::Now() + kPatience;
    base::MutexLock lock(mu);
    while (lacking > 0 && failed.ok()) {
      const absl::Duration left = deadline - test::Now();
      if (left <= absl::ZeroDuration()) {
        return absl::DeadlineExceededError(
            absl::StrCat(lacking, " streams lack a message for 60 s"));
      }
      changed.WaitFor(mu, left);
    }
    if (!failed.ok()) return failed;
    return last;
  }
};

// One thread's streams, connections and queue. What the caller starts and what events do is under
// one lock: a stream's operations are started by either.
class OpenStreams::Thread {
 public:
  Thread(const std::string& address, size_t connections, const std::string& name, Awaited& awaited)
      : awaited_(awaited), running_(name, [this] { Run(); }) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    arguments.SetMaxReceiveMessageSize(64 << 20);
    // Windows stay as they are: a stream that stalls takes 64 KiB, whatever the network could.
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    for (size_t i = 0; i < connections; ++i) {
      const auto channel =
          grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
      channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(30));
      stubs_.emplace_back(channel);
    }
  }
  ~Thread() {
    {
      base::MutexLock lock(mu_);
      closing_ = true;
      for (Stream& stream : streams_) stream.context.TryCancel();
    }
    queue_.Shutdown();
    running_.Join();
  }

  void Open(const WatchLoad& load, std::vector<std::string> requests) {
    base::MutexLock lock(mu_);
    stalls_ = load.stalls;
    counts_ = load.counts;
    Stream& stream = streams_.emplace_back();
    stream.requests = {requests.begin(), requests.end()};
    stream.wanted = load.messages;
    stream.lacks = true;
    stream.writing = true;
    stream.call =
        stubs_[streams_.size() % stubs_.size()].PrepareCall(&stream.context, load.method, &queue_);
    stream.call->StartCall(&stream.opened);
  }
  void Send(size_t number, const std::vector<std::string>& requests, size_t messages) {
    base::MutexLock lock(mu_);
    Stream& stream = streams_[number];
    stream.requests.insert(stream.requests.end(), requests.begin(), requests.end());
    stream.wanted += messages;
    stream.lacks = true;
    WriteNext(stream);
  }
  void Expect(size_t messages) {
    base::MutexLock lock(mu_);
    for (Stream& stream : streams_) {
      stream.wanted += messages;
      stream.lacks = true;
    }
  }

  uint64_t messages() const {
    base::MutexLock lock(mu_);
    return messages_;
  }
  uint64_t bytes() const {
    base::MutexLock lock(mu_);
    return bytes_;
  }
  std::string sample() const {
    base::MutexLock lock(mu_);
    return sample_;
  }

 private:
  enum class What : uint8_t { kOpened, kWritten, kRead, kEnded };
  struct Stream {
    struct Tag {
      Stream* stream;
      What what;
    };
    grpc::ClientContext context;
    std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call;
    std::deque<std::string> requests;  // to be said
    grpc::ByteBuffer message;
    grpc::Status status;
    uint64_t received = 0;
    uint64_t wanted = 0;
    bool writing = false;
    bool lacks = false;  // counts among those that are awaited
    Tag opened{this, What::kOpened};
    Tag written{this, What::kWritten};
    Tag read{this, What::kRead};
    Tag ended{this, What::kEnded};
  };

  void Run() {
    void* tag = nullptr;
    for (bool ok = false; queue_.Next(&tag, &ok);) {
      const auto* event = static_cast<const Stream::Tag*>(tag);
      base::MutexLock lock(mu_);
      if (!closing_) Handle(*event->stream, event->what, ok);
    }
  }
  void Handle(Stream& stream, What what, bool ok) MUSTER_REQUIRES(mu_) {
    switch (what) {
      case What::kOpened:
        Read(stream);
        [[fallthrough]];
      case What::kWritten:
        // When it failed, the read fails too and says why.
        stream.writing = !ok;
        if (ok) WriteNext(stream);
        return Look(stream);
      case What::kRead:
        if (!ok) return stream.call->Finish(&stream.status, &stream.ended);
        Take(stream);
        if (!stalls_ || stream.received < stream.wanted) Read(stream);
        return Look(stream);
      case What::kEnded:
        return awaited_.Fail({absl::StatusCode::kUnavailable,
                              absl::StrCat("a stream ended: ", stream.status.error_code(), " ",
                                           stream.status.error_message())});
    }
  }
  void Read(Stream& stream) { stream.call->Read(&stream.message, &stream.read); }
  void Take(Stream& stream) MUSTER_REQUIRES(mu_) {
    if (counts_ && !counts_(stream.message)) return;
    ++stream.received;
    ++messages_;
    bytes_ += stream.message.Length();
    if (&stream == &streams_.front()) sample_ = ToString(stream.message);
  }
  void WriteNext(Stream& stream) MUSTER_REQUIRES(mu_) {
    if (stream.writing || stream.requests.empty()) return;
    stream.writing = true;
    const grpc::ByteBuffer request = ToBuffer(stream.requests.front());
    stream.requests.pop_front();
    stream.call->Write(request, &stream.written);
  }
  // Has it all that it waits for?
  void Look(Stream& stream) {
    if (!stream.lacks || stream.writing || stream.received < stream.wanted) return;
    stream.lacks = false;
    awaited_.Complete();
  }

  Awaited& awaited_;
  std::vector<grpc::GenericStub> stubs_;  // by the caller's thread only
  mutable base::Mutex mu_;
  std::deque<Stream> streams_ MUSTER_GUARDED_BY(mu_);
  std::function<bool(const grpc::ByteBuffer&)> counts_ MUSTER_GUARDED_BY(mu_);
  std::string sample_ MUSTER_GUARDED_BY(mu_);
  uint64_t messages_ MUSTER_GUARDED_BY(mu_) = 0;
  uint64_t bytes_ MUSTER_GUARDED_BY(mu_) = 0;
  bool stalls_ MUSTER_GUARDED_BY(mu_) = false;
  bool closing_ MUSTER_GUARDED_BY(mu_) = false;
  grpc::CompletionQueue queue_;  // after the streams: its events use them
  base::NamedThread running_;    // last: uses the others
};

OpenStreams::OpenStreams(const std::string& address, size_t connections)
    : awaited_(std::make_unique<Awaited>()) {
  for (size_t i = 0; i < kThreads; ++i) {
    threads_.push_back(std::make_unique<Thread>(address, std::max(connections / kThreads, 1UL),
                                                absl::StrCat("watch-", i), *awaited_));
  }
}

OpenStreams::~OpenStreams() = default;

absl::Status OpenStreams::Open(const WatchLoad& load) {
  streams_ = load.streams;
  awaited_->Add(streams_);
  for (size_t i = 0; i < streams_; ++i) ThreadOf(i).Open(load, load.requests(i));
  return awaited_->Await().status();
}

absl::Status OpenStreams::Send(const MakeRequests& requests, size_t messages) {
  awaited_->Add(streams_);
  for (size_t i = 0; i < streams_; ++i) {
    ThreadOf(i).Send(i / threads_.size(), requests(i), messages);
  }
  return awaited_->Await().status();
}

void OpenStreams::Expect(size_t messages) {
  awaited_->Add(streams_);
  for (const auto& thread : threads_) thread->Expect(messages);
}

absl::StatusOr<absl::Time> OpenStreams::Await() { return awaited_->Await(); }

uint64_t OpenStreams::messages() const {
  uint64_t sum = 0;
  for (const auto& thread : threads_) sum += thread->messages();
  return sum;
}

uint64_t OpenStreams::bytes() const {
  uint64_t sum = 0;
  for (const auto& thread : threads_) sum += thread->bytes();
  return sum;
}

std::string OpenStreams::sample() const { return threads_.front()->sample(); }

absl::Status OpenStreams::status() const {
  base::MutexLock lock(awaited_->mu);
  return awaited_->failed;
}

std::string SubscribeTo(const std::string& service, uint64_t sub_id) {
  v1::WatchRequest request;
  request.mutable_subscribe()->set_sub_id(sub_id);
  request.mutable_subscribe()->set_service(service);
  return request.SerializeAsString();
}

bool IsOfSubscription(const grpc::ByteBuffer& event) {
  v1::WatchResponse parsed;
  return parsed.ParseFromString(ToString(event)) &&
         parsed.event_case() != v1::WatchResponse::kProgress;
}

}  // namespace muster::bench
