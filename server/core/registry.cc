#include "server/core/registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "server/core/field_rules.h"
#include "server/core/instance_change.h"
#include "server/core/registry_write.h"
#include "storage/engine.h"

namespace muster::core {
namespace {

using absl::StatusCode;
using base::MakeError;
using base::Reason;
using storage::UnitResult;

constexpr int kMaxAttempts = 64;

absl::Status CheckLife(std::string_view life) {
  if (life.empty()) return absl::OkStatus();
  const auto error = [](std::string message) {
    return base::WithField(MakeError(StatusCode::kInvalidArgument, Reason::kInvalidField, message),
                           "life_id");
  };
  if (life.size() != LifeId().size()) {
    return error(absl::StrCat("life_id has ", life.size(), " bytes; allowed: 0 or 16"));
  }
  if (life.find_first_not_of('\0') == std::string_view::npos) {
    return error("life_id is all zeroes; draw it at random");
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::Duration> GrantedTtl(const v1::RegisterRequest& request,
                                          const RegistryOptions& options) {
  const auto error = [](std::string message) {
    return base::WithField(MakeError(StatusCode::kInvalidArgument, Reason::kInvalidField, message),
                           "ttl");
  };
  if (request.permanent()) {
    if (request.has_ttl()) return error("ttl and permanent are both set; give one");
    return absl::ZeroDuration();
  }
  if (!request.has_ttl()) return options.default_ttl;
  if (absl::Status status =
          CheckDuration({"", "ttl"}, request.ttl(), options.min_ttl, options.max_ttl);
      !status.ok()) {
    return status;
  }
  return absl::Floor(FromProto(request.ttl()), absl::Milliseconds(1));
}

}  // namespace

Registry::Registry(storage::Engine& engine, Catalog& catalog, LeaseTable& leases, HeldSet& held,
                   const base::Clock& clock, RegistryOptions options)
    : engine_(engine),
      catalog_(catalog),
      leases_(leases),
      held_(held),
      clock_(clock),
      options_(options),
      turns_(std::make_unique<Turns>()),
      judge_(catalog, leases, held, clock, options_.brake,
             [&catalog](std::string_view service_key) -> std::optional<double> {
               const SettingsPtr settings = catalog.SettingsOf(service_key);
               if (settings == nullptr || !settings->has_brake_share()) return std::nullopt;
               return settings->brake_share();
             }) {}

Registry::~Registry() = default;

absl::StatusOr<std::shared_ptr<Registry::Write>> Registry::MakeRegistration(
    v1::RegisterRequest&& request, const Caller& caller) {
  if (absl::Status status = CheckLife(request.life_id()); !status.ok()) return status;
  auto ttl = GrantedTtl(request, options_);
  if (!ttl.ok()) return ttl.status();
  auto instance = Normalise(std::move(*request.mutable_instance()), caller.peer_address,
                            caller.loopback_peer_ok);
  if (!instance.ok()) return instance.status();
  auto write = std::make_shared<Write>();
  write->SetNames(std::exchange(instance->key, {}));  // here only
  write->registration.key = write->key;
  write->registration.instance = *std::move(instance);
  if (!request.life_id().empty()) {
    write->registration.life = std::move(*request.mutable_life_id());
  }
  write->registration.ttl = *ttl;
  write->ttl_given = request.has_ttl() || request.permanent();
  write->registration.precondition = request.precondition();
  write->registration.origin = caller.origin;
  return write;
}

Registered Registry::RegisteredAs(Write& write, const Outcome& outcome) const {
  Registered out;
  out.incarnation = outcome.incarnation;
  out.changed = outcome.changed;
  out.revision = catalog_.revision();
  out.revision.seq = std::max(outcome.seq, out.revision.seq);
  out.ttl = write.registration.ttl;
  out.key = std::move(write.names);
  // As it was first given, whatever the spelling of this request.
  std::string& spelling = write.registration.instance.display_name;
  if (!write.service.known) write.service = catalog_.StandingOf(write.service_key(), spelling);
  std::string& display = write.service.display;
  out.key.service = std::move(display.empty() ? spelling : display);
  return out;
}

void Registry::Register(const v1::RegisterRequest& request, const Caller& caller,
                        RegisterDone done) {
  Register(v1::RegisterRequest(request), caller, std::move(done));
}

void Registry::Register(v1::RegisterRequest&& request, const Caller& caller, RegisterDone done) {
  auto write = MakeRegistration(std::move(request), caller);
  if (!write.ok()) return done(write.status());
  (*write)->registered = std::move(done);
  Begin(*std::move(write));
}

void Registry::BatchRegister(const v1::BatchRegisterRequest& request, const Caller& caller,
                             BatchDone done) {
  BatchRegister(v1::BatchRegisterRequest(request), caller, std::move(done));
}

void Registry::BatchRegister(v1::BatchRegisterRequest&& request, const Caller& caller,
                             BatchDone done) {
  const auto count = static_cast<size_t>(request.requests_size());
  if (count == 0 || count > options_.max_batch) {
    const absl::Status error = base::WithField(
        MakeError(
            StatusCode::kInvalidArgument, Reason::kLimitBatch,
            absl::StrCat("requests has ", count, " items; allowed: 1 to ", options_.max_batch)),
        "requests");
    return done(std::vector<absl::StatusOr<Registered>>(1, error));
  }
  struct Gather {
    std::vector<absl::StatusOr<Registered>> results;
    std::atomic<size_t> left;
    BatchDone done;
  };
  auto gather = std::make_shared<Gather>();
  gather->results.assign(count, absl::UnknownError("no answer"));
  gather->left = count;
  gather->done = std::move(done);
  const auto settle = [gather](size_t i, absl::StatusOr<Registered> result) {
    gather->results[i] = std::move(result);
    if (gather->left.fetch_sub(1) == 1) gather->done(std::move(gather->results));
  };
  Writes writes;
  for (size_t i = 0; i < count; ++i) {
    auto write =
        MakeRegistration(std::move(*request.mutable_requests(static_cast<int>(i))), caller);
    if (!write.ok()) {
      settle(i, write.status());
      continue;
    }
    (*write)->registered = [settle, i](auto result) { settle(i, std::move(result)); };
    writes.push_back(*std::move(write));
  }
  BeginMany(std::move(writes));
}

void Registry::Deregister(const v1::DeregisterRequest& request, DeregisterDone done) {
  auto key = NormalKey(request.key(), "key");
  if (!key.ok()) return done(key.status());
  auto write = std::make_shared<Write>();
  write->kind = Write::Kind::kDeregister;
  write->SetNames(*std::move(key));
  write->write_class = storage::WriteClass::kInternal;
  write->incarnation = request.incarnation();
  write->done = [this, done = std::move(done)](auto outcome) {
    if (!outcome.ok()) return done(outcome.status());
    v1::DeregisterResponse response;
    response.mutable_revision()->set_epoch(catalog_.revision().epoch);
    response.mutable_revision()->set_seq(outcome->seq);
    done(std::move(response));
  };
  Begin(std::move(write));
}

void Registry::Begin(std::shared_ptr<Write> write) {
  Writes writes;
  writes.push_back(std::move(write));
  BeginMany(std::move(writes));
}

void Registry::BeginMany(Writes writes) {
  const auto waits = std::remove_if(writes.begin(), writes.end(), [this](const auto& write) {
    return write->waits_its_turn() && !turns_->Enter(write);
  });
  writes.erase(waits, writes.end());
  AttemptMany(std::move(writes));
}

// Of those whose turn it is.
void Registry::AttemptMany(Writes writes) {
  storage::Batch batch;
  Writes proposed;  // null: a service's record
  absl::flat_hash_set<std::string> ensured;
  auto write_class = storage::WriteClass::kInternal;
  batch.units.reserve(writes.size());
  proposed.reserve(writes.size());
  for (size_t i = 0; i < writes.size(); ++i) {  // Finish may append
    std::shared_ptr<Write> write = std::move(writes[i]);
    ++write->attempts;
    absl::StatusOr<bool> decided = Decide(*write);
    if (!decided.ok() || !*decided) {
      Finish(*write, std::move(decided).status(), catalog_.revision().seq, writes);
      continue;
    }
    if (write->write_class == storage::WriteClass::kUser) write_class = write->write_class;
    if (NeedsService(*write) && ensured.insert(std::string(write->service_key())).second) {
      batch.units.push_back(EnsureService(*write));
      proposed.push_back(nullptr);
    }
    batch.units.push_back(std::move(write->change.unit));
    proposed.push_back(std::move(write));
  }
  if (proposed.empty()) return;
  engine_.Propose(std::move(batch), write_class,
                  [this, proposed = std::move(proposed)](std::vector<UnitResult> results) {
                    Settle(proposed, std::move(results));
                  });
}

void Registry::Settle(const Writes& writes, std::vector<UnitResult> results) {
  Writes next;
  for (size_t i = 0; i < writes.size(); ++i) {
    if (writes[i] == nullptr) continue;
    Write& write = *writes[i];
    UnitResult& result = results[i];
    if (result.verdict == UnitResult::Verdict::kCommitted) {
      Finish(write, absl::OkStatus(), result.seq, next);
    } else if (result.verdict != UnitResult::Verdict::kRejected) {
      if (result.verdict == UnitResult::Verdict::kUnknown) turns_->MarkUncertain(write.key);
      Finish(write, result.status, 0, next);
    } else if (write.attempts < kMaxAttempts) {
      next.push_back(writes[i]);
    } else {
      Finish(write,
             base::WithRetryAfter(MakeError(StatusCode::kResourceExhausted, Reason::kQueueFull,
                                            "too many writes of this instance at once"),
                                  absl::Milliseconds(100)),
             0, next);
    }
  }
  if (!next.empty()) AttemptMany(std::move(next));
}

void Registry::Finish(Write& write, absl::Status status, uint64_t seq, Writes& next) {
  if (std::exchange(write.creating, false)) --creating_;
  if (write.waits_its_turn()) {
    if (auto waiting = turns_->Leave(write)) next.push_back(std::move(waiting));
  }
  const bool registers = write.kind == Write::Kind::kRegister;
  if (!status.ok()) {
    return registers ? write.registered(std::move(status)) : write.done(std::move(status));
  }
  // Written anew in the life it had, just as its lease fell due: that was a sign of life.
  const uint64_t kept = write.change.incarnation;
  if (registers && write.change.changed && kept != 0) {
    leases_.Renew(write.key, kept);
  }
  Outcome outcome;
  outcome.seq = seq;
  outcome.incarnation = write.change.incarnation == 0 ? seq : write.change.incarnation;
  outcome.changed = write.change.changed;
  if (registers) {
    write.registered(RegisteredAs(write, outcome));
    if (write.change.changed) RewriteStrays();
  } else {
    write.done(outcome);
  }
}

}  // namespace muster::core
