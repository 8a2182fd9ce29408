#include "server/rpc/unreadable.h"

#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/rpc_stack.h"

namespace muster::rpc {
namespace {

// A call with one message of these bytes.
grpc::Status Call(RpcStack& stack, const std::string& method, const std::string& bytes) {
  grpc::GenericStub stub(stack.channel);
  grpc::ClientContext context;
  SetDeadline(context, absl::Seconds(10));
  grpc::CompletionQueue queue;
  const auto next = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  const auto call = stub.PrepareCall(&context, "/muster.v1." + method, &queue);
  call->StartCall(nullptr);
  next();
  const grpc::Slice slice(bytes);
  call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
  next();
  grpc::ByteBuffer answer;
  do {
    call->Read(&answer, nullptr);
  } while (next());
  grpc::Status status;
  call->Finish(&status, nullptr);
  next();
  return status;
}

// Field 1, five bytes long, of which there is one.
constexpr char kTruncated[] = "\x0a\x05x";
// RegisterRequest{instance{service: FF FE}}
constexpr char kNotUtf8[] = "\x0a\x04\x12\x02\xff\xfe";

TEST(Unreadable, RequestsGetAReason) {
  RpcStack stack;
  for (const char* method :
       {"Registry/Register", "Registry/BatchRegister", "Registry/Deregister",
        "Registry/ReportHealth", "Registry/KeepAlive", "Discovery/Discover", "Discovery/Watch",
        "Discovery/WatchServices", "Discovery/DescribeInstance"}) {
    const grpc::Status status = Call(stack, method, kTruncated);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
    EXPECT_EQ(ReasonIn(status), "INVALID_FIELD") << method;
  }
  const grpc::Status status = Call(stack, "Registry/Register", kNotUtf8);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(status.error_message().find("not UTF-8"), std::string::npos);
}

TEST(Unreadable, OthersAreLeftAlone) {
  RpcStack stack;
  EXPECT_TRUE(Call(stack, "Discovery/ListServices", "").ok()) << "the empty message is one";
  EXPECT_TRUE(Call(stack, "Registry/KeepAlive", "").ok());
  EXPECT_EQ(ReasonIn(Call(stack, "Registry/Register", "")), "NAME_INVALID");
  EXPECT_EQ(ReasonIn(Call(stack, "Registry/Drain", "")), "NAME_INVALID");
  EXPECT_EQ(Call(stack, "Registry/NoSuchCall", kTruncated).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace muster::rpc
