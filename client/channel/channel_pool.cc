#include "client/channel/channel_pool.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/net_address.h"
#include "client/channel/chosen_call.h"

namespace muster::client {
namespace {

// An instance that restarts is called again soon; one that has gone isn't in the pool.
constexpr int kFirstPauseMs = 100;
constexpr int kLongestPauseMs = 1'000;
// gRPC has one argument for both: this is how long connecting may take, however soon after the last
// attempt it begins.
constexpr int kConnectTimeoutMs = 10'000;

std::string TargetOf(const Address& address) {
  const std::string text = base::FormatHostPort({address.host, address.port});
  if (!base::IsIpLiteral(address.host)) return absl::StrCat("dns:///", text);
  return absl::StrCat(absl::StrContains(address.host, ':') ? "ipv6:" : "ipv4:", text);
}

}  // namespace

ChannelPool::ChannelPool(ChannelOptions options, std::string authority, const base::Clock& clock)
    : options_(std::move(options)), authority_(std::move(authority)), clock_(clock) {}

std::shared_ptr<grpc::Channel> ChannelPool::Of(const Address& address) {
  Channels idle;  // closed after the lock
  const base::SteadyTime now = clock_.Steady();
  base::MutexLock lock(mu_);
  idle = TakeIdle(now);
  Open& open = channels_[address];
  if (open.channel == nullptr) open.channel = Connect(address);
  open.used = now;
  return open.channel;
}

std::pair<grpc_connectivity_state, ChannelPool::Channels::const_iterator> ChannelPool::Best(
    bool try_to_connect) const {
  constexpr std::array kOrder = {GRPC_CHANNEL_READY, GRPC_CHANNEL_CONNECTING, GRPC_CHANNEL_IDLE};
  auto best = channels_.end();
  auto best_at = kOrder.end();
  for (auto it = channels_.begin(); it != channels_.end(); ++it) {
    const auto at =
        std::find(kOrder.begin(), kOrder.end(), it->second.channel->GetState(try_to_connect));
    if (best == channels_.end() || at < best_at) {
      best = it;
      best_at = at;
    }
  }
  return {best_at == kOrder.end() ? GRPC_CHANNEL_TRANSIENT_FAILURE : *best_at, best};
}

std::optional<grpc_connectivity_state> ChannelPool::BestState(bool try_to_connect) const {
  base::MutexLock lock(mu_);
  const auto [state, channel] = Best(try_to_connect);
  return channel == channels_.end() ? std::nullopt : std::optional(state);
}

std::shared_ptr<grpc::Channel> ChannelPool::Any() {
  base::MutexLock lock(mu_);
  const auto [state, channel] = Best(false);
  return channel == channels_.end() ? nullptr : channel->second.channel;
}

void ChannelPool::Keep(const EndpointList& endpoints) {
  Channels gone;
  base::MutexLock lock(mu_);
  if (channels_.empty()) return;
  absl::flat_hash_set<Address, HashOf> present;
  for (const EndpointPtr& endpoint : endpoints) {
    const auto open = channels_.find(endpoint->address);
    if (open == channels_.end()) continue;
    present.insert(endpoint->address);
    const uint64_t before = std::exchange(open->second.revision, endpoint->revision);
    if (before == endpoint->revision) continue;
    grpc::experimental::ChannelResetConnectionBackoff(open->second.channel.get());
  }
  absl::erase_if(channels_, [&](auto& one) {
    if (present.contains(one.first)) return false;
    gone.insert(one);
    return true;
  });
}

ChannelPool::Channels ChannelPool::TakeIdle(base::SteadyTime now) {
  Channels idle;
  if (now - looked_ < options_.idle / 4) return idle;
  looked_ = now;
  absl::erase_if(channels_, [&](auto& one) {
    if (now - one.second.used < options_.idle) return false;
    idle.insert(one);
    return true;
  });
  return idle;
}

size_t ChannelPool::size() const {
  base::MutexLock lock(mu_);
  return channels_.size();
}

std::shared_ptr<grpc::Channel> ChannelPool::Connect(const Address& address) const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstPauseMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kLongestPauseMs);
  // Whoever isn't called at all is closed by gRPC: nobody looks after the pool then.
  arguments.SetInt(GRPC_ARG_CLIENT_IDLE_TIMEOUT_MS,
                   static_cast<int>(absl::ToInt64Milliseconds(options_.idle)));
  // http_proxy is for the outside; endpoints are what the registry says they are.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!authority_.empty()) arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, authority_);
  if (options_.arguments) options_.arguments(arguments);
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      TargetOf(address),
      options_.credentials != nullptr ? options_.credentials : grpc::InsecureChannelCredentials(),
      arguments, Reporting());
}

}  // namespace muster::client
