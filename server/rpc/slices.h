// ReplyBytes: a message put together of encoded bytes, shared where that is cheaper than copying.
// Protobuf messages concatenate, so the parts may be encoded apart.
//
//   ReplyBytes reply;
//   reply.Share(leaf, run.fields);
//   reply.Append(tail.SerializeAsString());
//   *response = std::move(reply).Take();
//
// Thread safety: none. Take() never returns an unset buffer, which gRPC would abort on: an empty
// message is one empty slice.
#pragma once

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace muster::rpc {

// One slice over shared bytes.
grpc::Slice SharedSlice(std::shared_ptr<const void> owner, std::string_view bytes);
// One slice that owns a string.
grpc::Slice OwnedSlice(std::string bytes);

// One message as bytes.
grpc::ByteBuffer EncodeBytes(const google::protobuf::MessageLite& message);
// False when the bytes are not such a message.
bool ParseBytes(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite& message);

class ReplyBytes {
 public:
  void Append(std::string_view bytes) { tail_.append(bytes); }
  // Copies what is short.
  void Share(std::shared_ptr<const void> owner, std::string_view bytes);
  void Add(const grpc::Slice& slice);
  size_t size() const { return size_ + tail_.size(); }

  grpc::ByteBuffer Take() &&;

 private:
  void Flush();

  std::vector<grpc::Slice> slices_;
  size_t size_ = 0;   // of slices_
  std::string tail_;  // not yet a slice
};

}  // namespace muster::rpc
