#include "server/rpc/watch_events.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>

#include <utility>

#include "server/rpc/errors.h"
#include "server/rpc/slices.h"

namespace muster::rpc {
namespace {

using google::protobuf::internal::WireFormatLite;

// sub_id, and the tag and length of the event. The length is written even when it is 0: an event
// without content is still that event.
std::string Head(uint64_t sub_id, int field, size_t body_size) {
  std::string head;
  {
    google::protobuf::io::StringOutputStream stream(&head);
    google::protobuf::io::CodedOutputStream out(&stream);
    if (sub_id != 0)
      WireFormatLite::WriteUInt64(v1::WatchResponse::kSubIdFieldNumber, sub_id, &out);
    out.WriteTag(WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
    out.WriteVarint32(static_cast<uint32_t>(body_size));
  }
  return head;
}

grpc::ByteBuffer Whole(const v1::WatchResponse& event) {
  ReplyBytes reply;
  reply.Append(event.SerializeAsString());
  return std::move(reply).Take();
}

void SetRevision(storage::Revision from, v1::Revision* to) {
  to->set_epoch(from.epoch);
  to->set_seq(from.seq);
}

}  // namespace

std::string EncodeChange(const core::DeltaResult& delta, uint64_t to_seq,
                         const core::Selection& selection) {
  std::string out;
  for (const std::string_view field : delta.upserted) out.append(field);
  v1::Change tail;
  for (const auto& key : delta.removed) {
    v1::EndpointKey* removed = tail.add_removed();
    removed->set_node(std::string(key.node));
    removed->set_id(std::string(key.id));
  }
  tail.set_to_seq(to_seq);
  tail.set_checksum(selection.checksum);
  tail.set_empty_reason(selection.empty_reason);
  tail.AppendToString(&out);
  return out;
}

grpc::ByteBuffer EventOf(uint64_t sub_id, int field, const grpc::Slice& body,
                         std::string_view own) {
  ReplyBytes reply;
  reply.Append(Head(sub_id, field, body.size() + own.size()));
  reply.Add(body);
  reply.Append(own);
  return std::move(reply).Take();
}

grpc::ByteBuffer ChangeEvent(uint64_t sub_id, uint64_t from_seq, const grpc::Slice& change,
                             bool ack_requested) {
  v1::Change own;
  own.set_from_seq(from_seq);
  own.set_ack_requested(ack_requested);
  return EventOf(sub_id, v1::WatchResponse::kChangeFieldNumber, change, own.SerializeAsString());
}

grpc::ByteBuffer HeldEvent(uint64_t sub_id, const grpc::Slice& held) {
  return EventOf(sub_id, v1::WatchResponse::kHeldFieldNumber, held);
}

grpc::ByteBuffer SnapshotEvent(uint64_t sub_id, const core::QueryPage& page,
                               storage::Revision revision, const core::Selection* selection) {
  v1::Snapshot tail;
  if (selection != nullptr) {
    SetRevision(revision, tail.mutable_revision());
    tail.set_checksum(selection->checksum);
    tail.set_empty_reason(selection->empty_reason);
    tail.set_complete(true);
  }
  const std::string end = tail.SerializeAsString();
  ReplyBytes reply;
  reply.Append(Head(sub_id, v1::WatchResponse::kSnapshotFieldNumber, page.bytes + end.size()));
  for (const core::EndpointRun& run : page.runs) reply.Share(run.leaf, run.fields);
  reply.Append(end);
  return std::move(reply).Take();
}

grpc::ByteBuffer ResetEvent(uint64_t sub_id, v1::Reset::Reason reason) {
  v1::WatchResponse event;
  event.set_sub_id(sub_id);
  event.mutable_reset()->set_reason(reason);
  return Whole(event);
}

grpc::ByteBuffer ErrorEvent(uint64_t sub_id, const absl::Status& status) {
  v1::WatchResponse event;
  event.set_sub_id(sub_id);
  *event.mutable_error() = ToStatusProto(status);
  return Whole(event);
}

grpc::ByteBuffer UnsubscribedEvent(uint64_t sub_id) {
  v1::WatchResponse event;
  event.set_sub_id(sub_id);
  event.mutable_unsubscribed();
  return Whole(event);
}

grpc::ByteBuffer ProgressEvent(storage::Revision revision) {
  v1::WatchResponse event;
  SetRevision(revision, event.mutable_progress()->mutable_revision());
  return Whole(event);
}

}  // namespace muster::rpc
