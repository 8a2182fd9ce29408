// A definition's bytes: what a service declares of an instance, as it is stored and sent.
//
// Thread safety: pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/types/span.h"
#include "muster/v1/types.pb.h"
#include "storage/schema.h"

namespace muster::core {

// 128 bits that tell contents apart. Not stored: it may differ in another version.
struct Digest {
  uint64_t low = 0, high = 0;
  friend bool operator==(const Digest&, const Digest&) = default;
};

// Of what a service declares. `endpoint` is an encoded v1::Endpoint with fields 1-12.
Digest DigestOf(std::string_view endpoint,
                const google::protobuf::RepeatedPtrField<v1::Check>& checks);
// The same of checks that are encoded deterministically.
Digest DigestOfEncoded(std::string_view endpoint, absl::Span<const std::string_view> checks);

// Maps in the order of their keys, so that equal messages have equal bytes.
void AppendDeterministic(const google::protobuf::MessageLite& message, std::string& out);

// The encoded v1::Endpoint, fields 1-12, of an instance whose names and address are settled: the
// bytes that AppendDeterministic would give, without making the message. A weight that is not given
// is written out as 1, since one of 0 means no traffic. Unknown fields are left out.
std::string EncodeEndpoint(const v1::Instance& instance, const storage::InstanceKey& key,
                           std::string_view address);

}  // namespace muster::core
