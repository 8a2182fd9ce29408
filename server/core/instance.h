// Instances and names: normalise and validate what services send.
//
// Thread safety: pure. Errors: INVALID_ARGUMENT with the field's path, e.g. "instance.port".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "muster/storage/v1/storage.pb.h"
#include "muster/v1/registry.pb.h"
#include "muster/v1/types.pb.h"
#include "server/core/definition.h"
#include "storage/schema.h"

namespace muster::core {

inline constexpr size_t kMaxInstanceBytes = 16 * 1024;
inline constexpr std::string_view kDefaultNamespace = "default";

// A check that is fit to be stored.
struct NormalCheck {
  std::string id;
  v1::Health initial_status = v1::CRITICAL;
  std::string encoded;  // the v1::Check, deterministic
};

// A registration that is fit to be stored.
struct NormalInstance {
  storage::InstanceKey key;  // names in lower case
  std::string display_name;  // the service's, as given
  std::string endpoint;      // encoded v1::Endpoint, fields 1-12, deterministic
  std::vector<NormalCheck> checks;
  v1::Health initial_health = v1::PASSING;  // the worst of the checks'
  Digest digest;                            // of endpoint and checks
};

// A name in lower case. `field` is used in the message: `service name "a b" contains ' ' at 1;
// allowed: A-Z a-z 0-9 . _ -`.
absl::StatusOr<std::string> NormalName(std::string_view what, std::string_view name,
                                       std::string_view field);

// The same for a namespace; "" is the default one.
absl::StatusOr<std::string> NormalNamespace(std::string_view ns, std::string_view field);

// Key with defaults filled in. `field` is the path of the key's message.
absl::StatusOr<storage::InstanceKey> NormalKey(const v1::InstanceKey& key, std::string_view field);

// `peer_address` (an IP, may be empty) stands in for an empty address; it is refused when loopback
// unless `loopback_peer_ok`. The first takes what it can out of the instance.
absl::StatusOr<NormalInstance> Normalise(v1::Instance&& instance, std::string_view peer_address,
                                         bool loopback_peer_ok);
absl::StatusOr<NormalInstance> Normalise(const v1::Instance& instance,
                                         std::string_view peer_address, bool loopback_peer_ok);

// The whole instance again, for people: the reverse of Normalise.
v1::Instance ToInstance(const storage::InstanceKeyView& key, std::string_view display_name,
                        const storage::v1::InstanceRecord& record);

v1::InstanceKey ToProto(const storage::InstanceKeyView& key);

}  // namespace muster::core
