// Answers to registrations, as bytes: there are many, and nobody needs their messages.
//
// Thread safety: pure.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/core/registry.h"

namespace muster::rpc {

// A v1::RegisterResponse.
grpc::ByteBuffer EncodeRegistered(const core::Registered& registered);

// A v1::BatchRegisterResponse.
grpc::ByteBuffer EncodeBatch(absl::Span<const absl::StatusOr<core::Registered>> results);

}  // namespace muster::rpc
