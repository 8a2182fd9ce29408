// Watch events as bytes: the body is made once and shared between subscriptions; a short head
// carries the subscription's id.
//
// Thread safety: pure.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "muster/v1/discovery.pb.h"
#include "server/core/delta.h"
#include "server/core/query.h"
#include "storage/engine.h"

namespace muster::rpc {

// An encoded v1::Change without from_seq and ack_requested, which aren't the same for all who get
// it.
std::string EncodeChange(const core::DeltaResult& delta, uint64_t to_seq,
                         const core::Selection& selection);

// v1::WatchResponse with `body`, and behind it `own`, as its event `field`.
grpc::ByteBuffer EventOf(uint64_t sub_id, int field, const grpc::Slice& body,
                         std::string_view own = "");
grpc::ByteBuffer ChangeEvent(uint64_t sub_id, uint64_t from_seq, const grpc::Slice& change,
                             bool ack_requested = false);
// `held`: an encoded v1::Held.
grpc::ByteBuffer HeldEvent(uint64_t sub_id, const grpc::Slice& held);
// One part of a snapshot; `selection` is null except with the last.
grpc::ByteBuffer SnapshotEvent(uint64_t sub_id, const core::QueryPage& page,
                               storage::Revision revision, const core::Selection* selection);
grpc::ByteBuffer ResetEvent(uint64_t sub_id, v1::Reset::Reason reason);
grpc::ByteBuffer ErrorEvent(uint64_t sub_id, const absl::Status& status);
grpc::ByteBuffer UnsubscribedEvent(uint64_t sub_id);
grpc::ByteBuffer ProgressEvent(storage::Revision revision);

}  // namespace muster::rpc
