#include <optional>

#include "base/errors.h"
#include "base/fake_clock.h"
#include "base/rng.h"
#include "base/text.h"
#include "muster/v1/discovery.pb.h"
#include "server/core/applier.h"
#include "server/core/instance.h"
#include "server/core/record_view.h"
#include "server/core/registry.h"
#include "storage/memory_engine.h"
#include "tests/fuzz/targets.h"

namespace muster::fuzz {
namespace {

using Reason = base::Reason;

void NormalFormIsFixed(const v1::Instance& instance, std::string_view peer) {
  const auto normal = core::Normalise(instance, peer, true);
  if (!normal.ok()) {
    Require(absl::IsInvalidArgument(normal.status()) && base::ReasonOf(normal.status()),
            "what is refused is refused with a reason");
    Require(base::IsPrintableUtf8(std::string(normal.status().message())),
            "an error can be shown on a terminal");
    return;
  }
  const std::string key = storage::EncodeInstanceKey(normal->key);
  const auto view = storage::DecodeInstanceKey(key);
  Require(view.has_value(), "the key of a valid instance can be decoded");
  storage::v1::InstanceRecord record;
  std::string payload;
  core::AppendRecord(*normal, {}, payload);
  Require(record.ParseFromString(payload) && core::SerializeRecord(record) == payload,
          "what is stored can be read, and is stored the same again");
  const v1::Instance shown = core::ToInstance(*view, normal->display_name, record);
  const auto again = core::Normalise(shown, "", false);
  Require(again.ok(), "the normal form is valid");
  Require(again->key == normal->key && again->display_name == normal->display_name &&
              again->endpoint == normal->endpoint && again->digest == normal->digest &&
              again->initial_health == normal->initial_health,
          "the normal form of a normal form is itself");

  core::ViewBuilder builder(nullptr);
  builder.Upsert({.node = normal->key.node,
                  .id = normal->key.id,
                  .definition = normal->endpoint,
                  .health = normal->initial_health,
                  .seq = 7});
  const auto built = builder.Build();
  const auto position = built->Find(normal->key.node, normal->key.id);
  Require(position.has_value(), "a view finds what was put into it");
  v1::DiscoverResponse response;
  Require(response.ParseFromString(std::string(position->leaf->field(*position->entry))) &&
              response.endpoints_size() == 1,
          "a view's bytes are an endpoint");
  const v1::Endpoint& endpoint = response.endpoints(0);
  Require(endpoint.node() == normal->key.node && endpoint.id() == normal->key.id &&
              endpoint.revision() == 7 && endpoint.health() == normal->initial_health,
          "an endpoint has its instance's names, health and revision");
}

// A registry of its own, so that runs do not depend on one another.
class Registered {
 public:
  Registered()
      : leases_(clock_, rng_, {}),
        applier_(catalog_, leases_, hub_),
        engine_({.clock = clock_, .rng = rng_, .threaded = false, .limits = {}}),
        registry_(engine_, catalog_, leases_, held_, clock_, {}) {
    Require(engine_.Open({&applier_}).ok(), "an empty store opens");
    leases_.SetLoaded();
  }
  ~Registered() { engine_.Close(); }

  absl::StatusOr<core::Registered> Register(const v1::RegisterRequest& request) {
    std::optional<absl::StatusOr<core::Registered>> out;
    registry_.Register(request, {.peer_address = "192.0.2.1"},
                       [&](auto response) { out = std::move(response); });
    engine_.RunPending();
    Require(out.has_value(), "a registration is answered");
    return *std::move(out);
  }
  uint64_t instances() const { return catalog_.instance_count(); }

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
};

void RegisterTwice(const v1::RegisterRequest& request) {
  Registered registered;
  const auto first = registered.Register(request);
  Require(registered.instances() == (first.ok() ? 1u : 0u), "who is registered is there");
  const auto second = registered.Register(request);
  if (!first.ok()) {
    Require(second.status() == first.status(), "the same request gets the same error");
    return;
  }
  Require(first->changed && first->incarnation != 0, "a first registration is a change");
  if (second.ok()) {
    Require(!second->changed && second->incarnation == first->incarnation,
            "the same registration again changes nothing");
    return;
  }
  const auto reason = base::ReasonOf(second.status());
  Require(request.has_precondition() && request.life_id().empty() &&
              (reason == Reason::kAlreadyExists || reason == Reason::kPreconditionFailed),
          "the same registration again fails by its precondition at most");
}

}  // namespace

void RegisterRequest(std::string_view data) {
  v1::RegisterRequest request;
  if (!request.ParseFromArray(data.data(), static_cast<int>(data.size()))) return;
  NormalFormIsFixed(request.instance(), "192.0.2.1");
  RegisterTwice(request);
}

}  // namespace muster::fuzz
