#include "tests/bench/requests.h"

#include <gtest/gtest.h>

#include <set>

#include "muster/v1/discovery.pb.h"
#include "muster/v1/registry.pb.h"
#include "tests/bench/fixture.h"

namespace muster::bench {
namespace {

v1::Instance NextInstance(const MakeRequest& make) {
  grpc::ByteBuffer buffer;
  EXPECT_TRUE(make(0, &buffer));
  v1::RegisterRequest request;
  EXPECT_TRUE(request.ParseFromString(ToString(buffer)));
  return request.instance();
}

TEST(RequestsTest, EachRewriteChangesTheInstance) {
  const MakeRequest make = Rewrites(3, 2);
  uint32_t before = MakeInstance(0, 2).port();
  for (int round = 0; round < 3; ++round) {
    const v1::Instance first = NextInstance(make);
    EXPECT_EQ(first.id(), InstanceId(0));
    EXPECT_NE(first.port(), before);
    before = first.port();
    EXPECT_EQ(NextInstance(make).id(), InstanceId(1));
    const v1::Instance third = NextInstance(make);
    EXPECT_EQ(third.id(), InstanceId(2));
    EXPECT_EQ(third.service(), ServiceName(0));
    EXPECT_EQ(third.port(), before);
  }
}

TEST(RequestsTest, AnyServiceIsAskedFor) {
  const MakeRequest make = DiscoverAny(4);
  std::set<std::string> asked;
  for (uint64_t number = 0; number < 100; ++number) {
    grpc::ByteBuffer buffer;
    ASSERT_TRUE(make(number, &buffer));
    v1::DiscoverRequest request;
    ASSERT_TRUE(request.ParseFromString(ToString(buffer)));
    asked.insert(request.service());
  }
  EXPECT_EQ(asked, (std::set<std::string>{ServiceName(0), ServiceName(1), ServiceName(2),
                                          ServiceName(3)}));
}

}  // namespace
}  // namespace muster::bench
