#include "server/rpc/slices.h"

#include <utility>

namespace muster::rpc {
namespace {

// Below this a copy is cheaper than a reference count.
constexpr size_t kWorthSharing = 1024;

}  // namespace

grpc::Slice SharedSlice(std::shared_ptr<const void> owner, std::string_view bytes) {
  auto* held = new std::shared_ptr<const void>(std::move(owner));
  return {const_cast<char*>(bytes.data()), bytes.size(),
          [](void* p) { delete static_cast<std::shared_ptr<const void>*>(p); }, held};
}

grpc::Slice OwnedSlice(std::string bytes) {
  if (bytes.size() < kWorthSharing) return grpc::Slice(bytes);
  auto owner = std::make_shared<const std::string>(std::move(bytes));
  const std::string_view view = *owner;
  return SharedSlice(std::move(owner), view);
}

grpc::ByteBuffer EncodeBytes(const google::protobuf::MessageLite& message) {
  const size_t size = message.ByteSizeLong();
  grpc::Slice slice(size);
  message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
  return {&slice, 1};
}

bool ParseBytes(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite& message) {
  grpc::Slice slice;
  if (!bytes.TrySingleSlice(&slice).ok() && !bytes.DumpToSingleSlice(&slice).ok()) return false;
  return message.ParseFromArray(slice.begin(), static_cast<int>(slice.size()));
}

void ReplyBytes::Share(std::shared_ptr<const void> owner, std::string_view bytes) {
  if (bytes.size() < kWorthSharing) return Append(bytes);
  Add(SharedSlice(std::move(owner), bytes));
}

void ReplyBytes::Add(const grpc::Slice& slice) {
  Flush();
  slices_.push_back(slice);
  size_ += slice.size();
}

void ReplyBytes::Flush() {
  if (tail_.empty()) return;
  size_ += tail_.size();
  slices_.push_back(OwnedSlice(std::exchange(tail_, {})));
}

grpc::ByteBuffer ReplyBytes::Take() && {
  Flush();
  if (slices_.empty()) slices_.emplace_back();
  return {slices_.data(), slices_.size()};
}

}  // namespace muster::rpc
