#include "server/rpc/registered.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/errors.h"
#include "base/rng.h"
#include "muster/v1/registry.pb.h"
#include "server/rpc/errors.h"
#include "server/rpc/slices.h"

namespace muster::rpc {
namespace {

using core::Registered;

class RegisteredTest : public ::testing::Test {
 protected:
  std::string Text(size_t max) {
    return std::string(rng_.Uniform(max + 1), static_cast<char>('a' + rng_.Uniform(26)));
  }
  // From 0 to the largest, of any length.
  uint64_t Number() { return rng_.Next() >> rng_.Uniform(64); }

  Registered Random() {
    Registered out;
    out.key = {Text(128), Text(128), Text(255), Text(255)};
    out.incarnation = Number();
    out.changed = rng_.Uniform(2) == 0;
    out.revision = {Number(), Number()};
    if (rng_.Uniform(3) > 0) out.ttl = absl::Milliseconds(1 + rng_.Uniform(86'400'000));
    return out;
  }

  base::SeededRng rng_{5};
};

v1::RegisterResponse ResponseOf(const Registered& registered) {
  v1::RegisterResponse out;
  out.set_incarnation(registered.incarnation);
  out.mutable_revision()->set_epoch(registered.revision.epoch);
  out.mutable_revision()->set_seq(registered.revision.seq);
  if (registered.ttl > absl::ZeroDuration()) {
    out.set_lease_handle(registered.incarnation);
    const auto set = [](absl::Duration from, google::protobuf::Duration& to) {
      to.set_seconds(absl::ToInt64Seconds(from));
      to.set_nanos(static_cast<int32_t>(absl::ToInt64Microseconds(from) % 1'000'000 * 1000));
    };
    set(registered.ttl, *out.mutable_ttl());
    set(registered.ttl / 3, *out.mutable_heartbeat_interval());
  }
  out.set_changed(registered.changed);
  out.mutable_key()->set_namespace_(registered.key.ns);
  out.mutable_key()->set_service(registered.key.service);
  out.mutable_key()->set_node(registered.key.node);
  out.mutable_key()->set_id(registered.key.id);
  return out;
}

template <typename Response>
std::string BytesOf(const Response& response) {
  return response.SerializeAsString();
}
std::string BytesOf(const grpc::ByteBuffer& buffer) {
  grpc::Slice slice;
  EXPECT_TRUE(buffer.DumpToSingleSlice(&slice).ok());
  return {reinterpret_cast<const char*>(slice.begin()), slice.size()};
}

TEST_F(RegisteredTest, AnAnswerHasTheBytesOfItsMessage) {
  for (int i = 0; i < 2000; ++i) {
    const Registered registered = Random();
    ASSERT_EQ(BytesOf(EncodeRegistered(registered)), BytesOf(ResponseOf(registered)))
        << ResponseOf(registered).DebugString();
  }
  EXPECT_EQ(BytesOf(EncodeRegistered({})), BytesOf(ResponseOf({})));
}

TEST_F(RegisteredTest, ABatchHasTheBytesOfItsMessage) {
  const absl::Status error = base::WithField(
      base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField, "bad"),
      "instance.port");
  for (size_t size : {0, 1, 2, 100}) {
    std::vector<absl::StatusOr<Registered>> results;
    v1::BatchRegisterResponse expected;
    for (size_t i = 0; i < size; ++i) {
      v1::BatchRegisterResult* result = expected.add_results();
      if (rng_.Uniform(3) == 0) {
        results.emplace_back(error);
        *result->mutable_status() = ToStatusProto(error);
      } else {
        results.emplace_back(Random());
        result->mutable_status();
        *result->mutable_response() = ResponseOf(*results.back());
      }
    }
    EXPECT_EQ(BytesOf(EncodeBatch(results)), BytesOf(expected));
  }
}

}  // namespace
}  // namespace muster::rpc
