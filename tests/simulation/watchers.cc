#include "tests/simulation/watchers.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace muster::simulation {
namespace {

constexpr size_t kMaxStreams = 4;
constexpr size_t kMaxClients = 10;

EndpointName NameOf(const v1::Endpoint& endpoint) { return {endpoint.node(), endpoint.id()}; }

std::string Shown(std::string key) {
  std::replace(key.begin(), key.end(), '\0', '/');
  return key;
}

bool SameSet(const std::map<EndpointName, v1::Endpoint>& a,
             const std::map<EndpointName, v1::Endpoint>& b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](const auto& x, const auto& y) {
           return x.first == y.first && BytesOf(x.second) == BytesOf(y.second);
         });
}

std::string NamesOf(const std::map<EndpointName, v1::Endpoint>& set) {
  std::string out;
  for (const auto& [name, endpoint] : set) {
    absl::StrAppend(&out, " ", name.first, "/", name.second, "@", endpoint.revision());
  }
  return out;
}

}  // namespace

void Watchers::Attach(Server& server, const rpc::WatchLimits& limits) {
  server_ = &server;
  shared_.reset(new rpc::WatchShared{.catalog = server.catalog,
                                     .held = server.held,
                                     .hub = server.hub,
                                     .listener = this,
                                     .clock = clock_,
                                     .limits = limits,
                                     .services = {},
                                     .selectors = {}});
  server.hub.AddListener(this);
  names_dirty_ = true;
}

void Watchers::Detach() {
  if (server_ == nullptr) return;
  while (!streams_.empty()) Disconnect(streams_.back().get());
  server_->hub.RemoveListener(this);
  shared_.reset();
  server_ = nullptr;
  names_at_.reset();
  dirty_.clear();
}

void Watchers::OnServiceChanged(std::string_view service_key) {
  if (sabotage_ == Sabotage::kLostWake && wakes_to_lose_ > 0 &&
      shared_->services.contains(std::string(service_key))) {
    --wakes_to_lose_;
    return;
  }
  dirty_.insert(std::string(service_key));
}

Watchers::Stream& Watchers::AnyStream() {
  if (streams_.size() < kMaxStreams && (streams_.empty() || rng_.Uniform(3) == 0)) {
    auto stream = std::make_unique<Stream>();
    stream->session = std::make_unique<rpc::WatchSession>(
        *shared_, nullptr, absl::StrCat("connection ", rng_.Uniform(4)));
    streams_.push_back(std::move(stream));
    return *streams_.back();
  }
  return *streams_[rng_.Uniform(streams_.size())];
}

Watchers::Client* Watchers::AnyClient() {
  if (clients_.empty()) return nullptr;
  auto it = clients_.begin();
  std::advance(it, static_cast<std::ptrdiff_t>(rng_.Uniform(clients_.size())));
  return &it->second;
}

std::string Watchers::Subscribe(const std::vector<std::string>& service_keys) {
  if (clients_.size() >= kMaxClients) return "watch: enough";
  Client& client = clients_[next_id_];
  client.id = next_id_++;
  client.service_key = service_keys[rng_.Uniform(service_keys.size())];
  client.selector = static_cast<int>(rng_.Uniform(kSelectors));
  Connect(client, AnyStream());
  return absl::StrCat("watch: client ", client.id, " follows ", Shown(client.service_key),
                      " with selector ", client.selector);
}

void Watchers::Connect(Client& client, Stream& stream) {
  const auto names = storage::DecodeServiceKey(client.service_key);
  v1::WatchRequest request;
  v1::Subscribe* subscribe = request.mutable_subscribe();
  subscribe->set_sub_id(client.id);
  subscribe->set_namespace_(std::string(names->ns));
  subscribe->set_service(std::string(names->service));
  *subscribe->mutable_selector() = SelectorOf(client.selector);
  client.expects = Client::Expects::kSnapshot;
  client.let_go = false;
  client.marks.clear();
  client.marks_go_on = false;
  if (client.whole) {
    client.expects = Client::Expects::kResume;
    subscribe->mutable_resume()->mutable_revision()->set_epoch(client.epoch);
    subscribe->mutable_resume()->mutable_revision()->set_seq(client.seq);
    subscribe->mutable_resume()->set_checksum(client.checksum);
  }
  client.coming.clear();
  client.stream = &stream;
  stream.clients.insert(client.id);
  (void)stream.session->Handle(request);
}

void Watchers::Disconnect(Stream* stream) {
  for (const uint64_t id : stream->clients) clients_[id].stream = nullptr;
  std::erase_if(streams_, [&](const auto& s) { return s.get() == stream; });
}

std::string Watchers::Act() {
  Client* client = AnyClient();
  if (client == nullptr) return "watch: nobody";
  const std::string who = absl::StrCat("watch: client ", client->id);
  if (client->stream == nullptr) {
    if (rng_.Uniform(8) == 0) {
      clients_.erase(client->id);
      return who + " never comes back";
    }
    Connect(*client, AnyStream());
    return absl::StrCat(who, client->whole ? " resumes" : " begins anew");
  }
  Stream& stream = *client->stream;
  switch (rng_.Uniform(6)) {
    case 0:
    case 1:
      Disconnect(&stream);
      return who + "'s stream ends";
    case 2:
      stream.stalled = true;
      return who + "'s stream stalls";
    case 3: {
      stream.stalled = false;
      return who + "'s stream reads";
    }
    case 4: {
      if (!stream.stalled) return who + " reads on";
      stream.session->budget().Stall();
      stream.session->DropStalledSnapshots(clock_.Steady());
      for (const uint64_t id : stream.clients) clients_[id].let_go = true;
      return who + "'s stalled stream is let go of";
    }
    default: {
      v1::WatchRequest request;
      request.mutable_unsubscribe()->set_sub_id(client->id);
      (void)stream.session->Handle(request);
      stream.clients.erase(client->id);
      client->stream = nullptr;
      return who + " unsubscribes";
    }
  }
}

std::string Watchers::Deliver() {
  std::set<std::string> dirty;
  dirty.swap(dirty_);
  for (const std::string& key : dirty) {
    const auto it = shared_->services.find(key);
    if (it == shared_->services.end()) continue;
    std::vector<rpc::Subscription*> subscriptions = (*it)->subscriptions;
    std::sort(subscriptions.begin(), subscriptions.end(),
              [](const auto* a, const auto* b) { return a->sub_id < b->sub_id; });
    for (rpc::Subscription* s : subscriptions) s->session->MarkReady(*s);
  }
  for (const auto& stream : streams_) {
    if (stream->stalled) {
      // One more message fits into the pipe now and then.
      if (rng_.Uniform(4) == 0) {
        if (auto event = stream->session->Next()) {
          grpc::Slice all;
          v1::WatchResponse message;
          if (!event->DumpToSingleSlice(&all).ok() ||
              !message.ParseFromArray(all.begin(), static_cast<int>(all.size()))) {
            return "an event that can't be read";
          }
          if (auto wrong = Event(message); !wrong.empty()) return wrong;
        }
      }
      continue;
    }
    if (auto wrong = Read(*stream); !wrong.empty()) return wrong;
  }
  while (const rpc::SnapshotTurns::Stream* next = shared_->turns.Next()) {
    for (const auto& stream : streams_) {
      if (&stream->session->budget() != next || stream->stalled) continue;
      if (auto wrong = Read(*stream); !wrong.empty()) return wrong;
    }
  }
  return FollowNames();
}

std::string Watchers::Read(Stream& stream) {
  while (auto event = stream.session->Next()) {
    grpc::Slice all;
    v1::WatchResponse message;
    if (!event->DumpToSingleSlice(&all).ok() ||
        !message.ParseFromArray(all.begin(), static_cast<int>(all.size()))) {
      return "an event that can't be read";
    }
    if (auto wrong = Event(message); !wrong.empty()) return wrong;
  }
  if (stream.session->budget().waits()) return "";
  const storage::Revision revision = server_->catalog.revision();
  const bool progress = rng_.Uniform(4) == 0;
  for (const uint64_t id : stream.clients) {
    Client& client = clients_[id];
    if (auto wrong = CheckUpToDate(client); !wrong.empty()) return wrong;
    if (progress) client.seq = std::max(client.seq, revision.seq);
  }
  return "";
}

std::string Watchers::Event(const v1::WatchResponse& event) {
  if (event.has_unsubscribed()) return "";
  const auto it = clients_.find(event.sub_id());
  if (it == clients_.end() || it->second.stream == nullptr) {
    return absl::StrCat("an event for ", event.sub_id(),
                        ", which nobody asked for: ", event.ShortDebugString());
  }
  Client& client = it->second;
  std::string wrong;
  if (event.has_snapshot()) {
    wrong = OnSnapshot(client, event.snapshot());
  } else if (event.has_change()) {
    wrong = OnChange(client, event.change());
  } else if (event.has_held()) {
    wrong = OnHeld(client, event.held());
  } else if (event.has_reset()) {
    wrong = OnReset(client, event.reset().reason());
  } else {
    wrong = "an event of no known kind";
  }
  if (wrong.empty()) return "";
  return absl::StrCat("client ", client.id, " of ", Shown(client.service_key), ", selector ",
                      client.selector, ": ", wrong, ": ", event.ShortDebugString());
}

std::string Watchers::OnSnapshot(Client& client, const v1::Snapshot& event) {
  if (client.expects != Client::Expects::kSnapshot) return "a snapshot without need";
  client.whole = false;
  for (const v1::Endpoint& endpoint : event.endpoints()) {
    if (!client.coming.empty() && NameOf(endpoint) <= client.coming.rbegin()->first) {
      return "a snapshot out of order";
    }
    client.coming[NameOf(endpoint)] = endpoint;
  }
  if (!event.complete()) return "";
  ++tally_["watch snapshots"];
  client.held = std::move(client.coming);
  client.coming.clear();
  client.whole = true;
  client.expects = Client::Expects::kChange;
  client.epoch = event.revision().epoch();
  client.seq = event.revision().seq();
  client.checksum = event.checksum();
  client.empty_reason = event.empty_reason();
  client.let_go = false;
  return CheckHeld(client);
}

std::string Watchers::OnChange(Client& client, const v1::Change& event) {
  const bool resumed = client.expects == Client::Expects::kResume;
  if (client.expects == Client::Expects::kSnapshot) return "a change before the snapshot";
  if (resumed && client.epoch != model_.epoch()) return "a resume from another epoch";
  if (event.to_seq() < event.from_seq()) return "a change backwards";
  if (event.from_seq() > client.seq) return "a change from what the client was not told";
  if (resumed && event.from_seq() != client.seq) return "a resume from another revision";
  const auto before = client.held;
  for (const v1::Endpoint& endpoint : event.upserted()) client.held[NameOf(endpoint)] = endpoint;
  for (const auto& key : event.removed()) client.held.erase({key.node(), key.id()});
  if (!resumed && client.empty_reason == event.empty_reason() && SameSet(before, client.held)) {
    return "woken for nothing";
  }
  ++tally_[resumed ? "watch resumes" : "watch changes"];
  client.expects = Client::Expects::kChange;
  client.seq = std::max(client.seq, event.to_seq());
  client.checksum = event.checksum();
  client.empty_reason = event.empty_reason();
  return CheckHeld(client);
}

std::string Watchers::OnHeld(Client& client, const v1::Held& event) {
  if (client.expects != Client::Expects::kChange) return "held endpoints before their set";
  std::set<EndpointName>& marks = client.marks[event.zone()];
  const auto before = marks;
  if (!client.marks_go_on) marks.clear();
  client.marks_go_on = event.more();
  for (const auto& key : event.keys()) marks.emplace(key.node(), key.id());
  ++tally_[marks.empty() ? "watch let go" : "watch held"];
  if (marks.empty()) client.marks.erase(event.zone());
  return before.empty() && event.keys().empty() ? "let go of what was not held" : "";
}

std::string Watchers::CheckMarks(const Client& client) const {
  std::map<std::string, std::set<EndpointName>> held;
  if (const auto service = server_->held.Of(client.service_key)) {
    for (const auto& zone : service->zones) {
      for (const auto& key : zone->keys) held[zone->zone].emplace(key.node, key.id);
    }
  }
  return client.marks == held ? "" : "was not told what is held";
}

std::string Watchers::OnReset(Client& client, v1::Reset::Reason reason) {
  const Service* service = model_.Find(client.service_key);
  const bool holds = !client.held.empty();
  bool justified = false;
  if (client.expects == Client::Expects::kResume) {
    justified = client.epoch != model_.epoch()
                    ? reason == v1::Reset::EPOCH_CHANGED
                    : reason == v1::Reset::TOO_OLD && holds &&
                          (service == nullptr || client.seq < service->floor);
  } else {
    justified = reason == v1::Reset::TOO_OLD &&
                (client.let_go || (holds && client.expects == Client::Expects::kChange &&
                                   (service == nullptr || client.read_up_to < service->floor)));
  }
  ++tally_["watch resets " + v1::Reset::Reason_Name(reason)];
  client.whole = false;
  client.coming.clear();
  client.expects = Client::Expects::kSnapshot;
  client.let_go = false;
  return justified
             ? ""
             : absl::StrCat("a reset without need, floor ", service == nullptr ? 0 : service->floor,
                            ", client at ", client.seq, ", had read up to ", client.read_up_to);
}

std::string Watchers::CheckHeld(const Client& client) const {
  const uint64_t checksum = ChecksumOf(client.held);
  if (checksum != client.checksum) {
    return absl::StrCat("its set has checksum ", checksum, ", not the one that was sent;",
                        NamesOf(client.held));
  }
  if (client.held.empty() == (client.empty_reason == v1::EMPTY_REASON_UNSPECIFIED)) {
    return "an empty reason that does not fit the set";
  }
  return "";
}

std::string Watchers::CheckUpToDate(Client& client) {
  const auto wrong = [&](std::string_view what) {
    return absl::StrCat("client ", client.id, " of ", Shown(client.service_key), ", selector ",
                        client.selector, " ", std::string(what));
  };
  if (!client.whole) return wrong("has read all and holds no whole set");
  const Selected selected = model_.Select(client.service_key, client.selector);
  if (!SameSet(client.held, selected.endpoints)) {
    return wrong(
        absl::StrCat("holds", NamesOf(client.held), "; there is", NamesOf(selected.endpoints)));
  }
  if (client.empty_reason != selected.empty_reason) {
    return wrong(absl::StrCat("was told the empty reason ",
                              v1::EmptyReason_Name(client.empty_reason), ", not ",
                              v1::EmptyReason_Name(selected.empty_reason)));
  }
  if (client.epoch != model_.epoch()) return wrong("holds a set of another epoch");
  if (const std::string marks = CheckMarks(client); !marks.empty()) return wrong(marks);
  client.let_go = false;
  const auto info = server_->catalog.GetByKey(client.service_key);
  client.read_up_to = info ? info->view->seq() : model_.seq();
  return "";
}

// As a NamesStream does: names up to the cursor are known, changes after it are asked for.
std::string Watchers::FollowNames() {
  if (!names_dirty_ && names_at_) return "";
  if (names_at_ && rng_.Uniform(3) == 0) return "";  // busy: changes of more than one step come
  names_dirty_ = false;
  const core::Catalog& catalog = server_->catalog;
  std::vector<core::NameChange> changes;
  if (names_at_) names_at_ = catalog.NameChangesSince(*names_at_, changes);
  if (names_at_) {
    // What a client gets: the removed and the added of one message, in no order.
    std::map<std::string, std::string> added, removed;
    for (const core::NameChange& change : changes) {
      std::string lower = change.display;
      std::transform(lower.begin(), lower.end(), lower.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      (change.added ? added : removed)[storage::EncodeServiceKey(change.ns, lower)] =
          change.display;
    }
    for (const auto& [key, display] : removed) {
      if (added.contains(key)) return absl::StrCat(Shown(key), " is both added and removed");
      names_.erase(key);
    }
    for (const auto& [key, display] : added) names_[key] = display;
  } else {
    names_.clear();
    names_at_ = catalog.List("*", "", "", [&](const auto& info) {
      const core::ServiceIdentity& identity = *info.identity;
      names_[storage::EncodeServiceKey(identity.ns, identity.service)] = identity.display;
      return true;
    });
  }
  std::map<std::string, std::string> known;
  for (const auto& [key, service] : model_.services()) known[key] = service.display;
  if (known == names_) return "";
  std::string out = "the names that a follower holds differ:";
  for (const auto& [key, display] : names_) absl::StrAppend(&out, " ", Shown(key));
  absl::StrAppend(&out, "; there are");
  for (const auto& [key, display] : known) absl::StrAppend(&out, " ", Shown(key));
  return out;
}

}  // namespace muster::simulation
