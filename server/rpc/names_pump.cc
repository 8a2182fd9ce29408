#include "server/rpc/names_pump.h"

#include <deque>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "base/text.h"
#include "server/core/field_rules.h"
#include "server/core/instance.h"
#include "server/rpc/slices.h"
#include "storage/schema.h"

namespace muster::rpc {
namespace {

constexpr int kNamesInPart = 1000;

void SetRevision(storage::Revision from, v1::Revision* to) {
  to->set_epoch(from.epoch);
  to->set_seq(from.seq);
}

void SetName(const std::string& ns, const std::string& service, v1::ServiceName* to) {
  to->set_namespace_(ns);
  to->set_service(service);
}

}  // namespace

class NamesStream final : public StreamReactor, public std::enable_shared_from_this<NamesStream> {
 public:
  NamesStream(NamesPump& pump, const StreamAccess& access, absl::Status valid, std::string ns,
              std::string prefix)
      : access(access),
        end(valid.ok() ? std::nullopt : std::optional(std::move(valid))),
        ns(std::move(ns)),
        prefix(std::move(prefix)),
        pump_(pump) {}

  void Begin() {
    Post([](NamesPump& pump, const auto& self) { pump.Added(self); });
  }
  void OnWriteDone(bool ok) override {
    Post([ok](NamesPump& pump, const auto& self) { pump.Written(*self, ok); });
  }
  void OnCancel() override {
    Post([](NamesPump& pump, const auto& self) {
      pump.End(*self, absl::CancelledError("the client is gone"));
    });
  }
  void OnDone() override {
    Post([](NamesPump& pump, const auto& self) { pump.Removed(self); });
  }

  std::optional<v1::WatchServicesResponse> Next(const core::Catalog& catalog);

  StreamAccess access;
  bool writing = false;
  bool finished = false;
  std::optional<absl::Status> end;

 private:
  bool Wanted(const core::NameChange& change) const {
    return (ns == "*" || change.ns == ns) &&
           absl::StartsWith(base::AsciiLower(change.display), prefix);
  }
  void TakeNames(const core::Catalog& catalog);
  v1::WatchServicesResponse NextPart();

  template <typename Task>
  void Post(Task task) {
    pump_.executor_.Post(
        [&pump = pump_, self = shared_from_this(), task = std::move(task)] { task(pump, self); });
  }

  const std::string ns;
  const std::string prefix;  // lower case
  NamesPump& pump_;
  std::optional<uint64_t> cursor_;  // in the catalog's log of name changes
  storage::Revision revision_;      // names up to it have been taken
  // Names not yet sent; nullopt = the snapshot is complete.
  std::optional<std::deque<std::pair<std::string, std::string>>> names_;
};

void NamesStream::TakeNames(const core::Catalog& catalog) {
  // First the revision: names up to it are in the list.
  revision_ = catalog.revision();
  names_.emplace();
  cursor_ = catalog.List(ns, prefix, "", [this](const auto& info) {
    names_->emplace_back(info.identity->ns, info.identity->display);
    return true;
  });
}

v1::WatchServicesResponse NamesStream::NextPart() {
  v1::WatchServicesResponse event;
  auto* part = event.mutable_snapshot();
  while (!names_->empty() && part->names_size() < kNamesInPart) {
    SetName(names_->front().first, names_->front().second, part->add_names());
    names_->pop_front();
  }
  if (!names_->empty()) return event;
  names_.reset();
  part->set_complete(true);
  SetRevision(revision_, event.mutable_revision());
  return event;
}

std::optional<v1::WatchServicesResponse> NamesStream::Next(const core::Catalog& catalog) {
  if (!cursor_) TakeNames(catalog);
  if (names_) return NextPart();
  // First the revision: names up to it are in the log.
  revision_ = catalog.revision();
  std::vector<core::NameChange> changes;
  const auto next = catalog.NameChangesSince(*cursor_, changes);
  if (!next) {
    TakeNames(catalog);
    return NextPart();
  }
  cursor_ = next;
  v1::WatchServicesResponse event;
  for (const core::NameChange& change : changes) {
    if (!Wanted(change)) continue;
    auto* to = event.mutable_change();
    SetName(change.ns, change.display, change.added ? to->add_added() : to->add_removed());
  }
  if (!event.has_change()) return std::nullopt;
  SetRevision(revision_, event.mutable_revision());
  return event;
}

NamesPump::NamesPump(const core::Catalog& catalog, core::WatchHub& hub,
                     base::SerialExecutor& executor)
    : catalog_(catalog), hub_(hub), executor_(executor) {
  hub_.AddListener(this);
}

NamesPump::~NamesPump() { hub_.RemoveListener(this); }

void NamesPump::Open(StreamCall& call, const StreamAccess& access,
                     const v1::WatchServicesRequest& request) {
  std::string ns = "*";
  absl::Status valid;
  if (request.namespace_() != "*") {
    const auto name = core::NormalNamespace(request.namespace_(), "namespace");
    if (name.ok()) ns = *name;
    valid = name.status();
  }
  if (valid.ok()) valid = core::CheckText({"", "prefix"}, request.prefix(), 0, 128);
  auto stream = std::make_shared<NamesStream>(*this, access, std::move(valid), std::move(ns),
                                              base::AsciiLower(request.prefix()));
  call.Bind(stream.get());
  stream->Begin();
}

void NamesPump::EndAll(absl::Status status) {
  executor_.Post([this, status = std::move(status)] {
    ended_ = status;
    for (const auto& [raw, stream] : streams_) End(*stream, status);
  });
}

void NamesPump::Tick() {
  executor_.Post([this] {
    for (const auto& [raw, stream] : streams_) {
      if (absl::Status status = stream->access.Recheck(); !status.ok()) End(*stream, status);
    }
  });
}

void NamesPump::OnNamesChanged() {
  if (enqueued_.exchange(true)) return;
  executor_.Post([this] {
    enqueued_.store(false);
    for (const auto& [raw, stream] : streams_) Kick(*stream);
  });
}

void NamesPump::Added(const StreamPtr& stream) {
  streams_.emplace(stream.get(), stream);
  stream_count_.store(streams_.size(), std::memory_order_relaxed);
  if (stream->end) return End(*stream, *stream->end);
  if (ended_) return End(*stream, *ended_);
  Kick(*stream);
}

void NamesPump::Removed(const StreamPtr& stream) {
  streams_.erase(stream.get());
  stream_count_.store(streams_.size(), std::memory_order_relaxed);
}

void NamesPump::Written(NamesStream& stream, bool ok) {
  stream.writing = false;
  if (stream.finished) return;
  if (!ok && !stream.end) stream.end = absl::CancelledError("the client is gone");
  if (stream.end) return End(stream, *stream.end);
  Kick(stream);
}

void NamesPump::Kick(NamesStream& stream) {
  if (stream.writing || stream.end || stream.finished) return;
  const auto event = stream.Next(catalog_);
  if (!event) return;
  stream.writing = true;
  stream.StartWrite(EncodeBytes(*event));
}

void NamesPump::End(NamesStream& stream, const absl::Status& status) {
  if (stream.finished) return;
  stream.end = status;
  if (stream.writing) return;
  stream.finished = true;
  stream.Finish(status);
}

}  // namespace muster::rpc
