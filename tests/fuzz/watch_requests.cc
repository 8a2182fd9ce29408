#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/fake_clock.h"
#include "base/rng.h"
#include "server/core/applier.h"
#include "server/core/registry.h"
#include "server/rpc/watch_session.h"
#include "storage/memory_engine.h"
#include "tests/fuzz/targets.h"

namespace muster::fuzz {
namespace {

// A server in one thread with one Watch stream.
class Stream : public core::ViewListener {
 public:
  Stream()
      : leases_(clock_, rng_, {}),
        applier_(catalog_, leases_, hub_),
        engine_({.clock = clock_, .rng = rng_, .threaded = false, .limits = {}}),
        registry_(engine_, catalog_, leases_, held_, clock_, {}),
        shared_{.catalog = catalog_,
                .held = held_,
                .hub = hub_,
                .listener = this,
                .clock = clock_,
                .limits = {.snapshot_part = 2,
                           .snapshot_budget_bytes = 400,
                           .subscriptions_per_stream = 5},
                .services = {},
                .selectors = {}},
        session_(std::make_unique<rpc::WatchSession>(shared_, nullptr)) {
    hub_.AddListener(this);
    Require(engine_.Open({&applier_}).ok(), "an empty store opens");
    leases_.SetLoaded();
  }
  ~Stream() override {
    session_.reset();
    Require(shared_.subscriptions == 0 && shared_.services.empty() && shared_.turns.bytes() == 0 &&
                shared_.selector_bytes == 0,
            "a stream leaves nothing behind");
    hub_.RemoveListener(this);
    engine_.Close();
  }

  void OnServiceChanged(std::string_view key) override { dirty_.insert(std::string(key)); }
  void OnNamesChanged() override {}

  // False: the stream ended.
  bool Handle(std::string_view bytes) {
    v1::WatchRequest request;
    if (!request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return true;
    return session_->Handle(request).ok();
  }

  void Change(uint8_t what) {
    const std::string id = absl::StrCat(what % 5);
    if (what < 128) {
      v1::RegisterRequest request;
      request.mutable_instance()->set_service("api");
      request.mutable_instance()->set_id(id);
      request.mutable_instance()->set_address("10.0.0.1");
      request.mutable_instance()->set_port(what);
      if (what % 3 == 0) request.mutable_instance()->add_tags("t");
      request.set_permanent(true);
      registry_.Register(request, {}, [](const auto&) {});
    } else if (what < 250) {
      v1::DeregisterRequest request;
      request.mutable_key()->set_service("api");
      request.mutable_key()->set_id(id);
      registry_.Deregister(request, [](const auto&) {});
    } else {
      clock_.Advance(absl::Hours(25));
      registry_.Maintain();
    }
    engine_.RunPending();
    for (const std::string& key : dirty_) {
      const auto it = shared_.services.find(key);
      if (it == shared_.services.end()) continue;
      for (rpc::Subscription* s : (*it)->subscriptions) s->session->MarkReady(*s);
    }
    dirty_.clear();
  }

  void Send(int most) {
    for (int i = 0; i < most; ++i) {
      const auto event = session_->Next();
      if (!event) return;
      grpc::Slice all;
      v1::WatchResponse message;
      Require(event->DumpToSingleSlice(&all).ok() &&
                  message.ParseFromArray(all.begin(), static_cast<int>(all.size())),
              "an event can be read");
      Require(message.event_case() != v1::WatchResponse::EVENT_NOT_SET, "an event says something");
      if (message.has_snapshot()) {
        Require(message.snapshot().endpoints_size() <= 2, "parts of a snapshot have a limit");
      }
    }
  }

  void LetGo() {
    session_->budget().Stall();
    session_->DropStalledSnapshots(clock_.Steady());
  }

 private:
  base::FakeClock clock_;
  base::SeededRng rng_{1};
  core::Catalog catalog_;
  core::WatchHub hub_;
  core::LeaseTable leases_;
  core::HeldSet held_{catalog_, leases_, hub_, clock_};
  core::Applier applier_;
  storage::MemoryEngine engine_;
  core::Registry registry_;
  rpc::WatchShared shared_;
  std::unique_ptr<rpc::WatchSession> session_;
  std::set<std::string> dirty_;
};

}  // namespace

void WatchRequests(std::string_view data) {
  Bytes bytes(data);
  Stream stream;
  for (int steps = 0; !bytes.empty() && steps < 100; ++steps) {
    const uint8_t what = bytes.Byte();
    if (what < 128) {
      if (!stream.Handle(bytes.Text())) return;
    } else if (what < 192) {
      stream.Change(bytes.Byte());
    } else if (what < 250) {
      stream.Send(what - 191);
    } else {
      stream.LetGo();
    }
  }
  stream.Send(1000);
}

}  // namespace muster::fuzz
