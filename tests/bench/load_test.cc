#include "tests/bench/load.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "tests/bench/servers.h"
#include "tests/bench/yardstick/yardstick.h"

namespace muster::bench {
namespace {

MakeRequest Numbered(uint64_t count) {
  return [count](uint64_t number, grpc::ByteBuffer* request) {
    *request = ToBuffer("message " + std::to_string(number));
    return number < count;
  };
}

TEST(LatencyHistogramTest, QuantilesAreWithinTheirError) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.Quantile(0.5), absl::ZeroDuration());
  for (int i = 1; i <= 1000; ++i) histogram.Add(absl::Microseconds(i));
  EXPECT_NEAR(absl::ToDoubleMicroseconds(histogram.Quantile(0.5)), 500, 500 * 0.016);
  EXPECT_NEAR(absl::ToDoubleMicroseconds(histogram.Quantile(0.99)), 990, 990 * 0.016);
  EXPECT_NEAR(absl::ToDoubleMicroseconds(histogram.Quantile(1)), 1000, 1000 * 0.016);
}

TEST(LatencyHistogramTest, MergeAddsAndExtremesAreKept) {
  LatencyHistogram one;
  LatencyHistogram other;
  one.Add(absl::ZeroDuration());
  other.Add(absl::Hours(10));
  one.Merge(other);
  EXPECT_EQ(one.count(), 2U);
  EXPECT_LE(one.Quantile(0.5), absl::Nanoseconds(1));
  EXPECT_GE(one.Quantile(1), absl::Minutes(15));
}

class LoadTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = StartYardstick();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *server;
    client_ = std::make_unique<Client>(server_->address());
  }

  std::shared_ptr<ServerProcess> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(LoadTest, MakesEachCallOnceAndCountsIt) {
  std::atomic<uint64_t> replies{0};
  const auto result = client_->Call({.method = kYardstickEmpty,
                                     .in_flight = 7,
                                     .request = Numbered(100),
                                     .reply =
                                         [&](uint64_t, const grpc::ByteBuffer& reply) {
                                           replies += ToString(reply).empty() ? 1 : 0;
                                           return absl::OkStatus();
                                         }},
                                    absl::Seconds(30));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->operations, 100U);
  EXPECT_EQ(replies, 100U);
  EXPECT_EQ(result->latency.count(), 100U);
  EXPECT_GT(result->PerSecond(), 0);
}

TEST_F(LoadTest, OneInFlightIsEnough) {
  const auto result = client_->Call(
      {.method = kYardstickEmpty, .in_flight = 1, .request = Numbered(10)}, absl::Seconds(30));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->operations, 10U);
}

TEST_F(LoadTest, KeepsItsPace) {
  const auto result =
      client_->Call({.method = kYardstickEmpty, .request = Numbered(1'000'000), .per_second = 200},
                    absl::Milliseconds(500));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_LE(result->operations, 102U);
  EXPECT_GE(result->operations, 50U);
}

TEST_F(LoadTest, AFailedCallEndsTheLoad) {
  const auto result = client_->Call(
      {.method = "/muster.bench.v1.Yardstick/Missing", .request = Numbered(1'000'000'000)},
      absl::Minutes(1));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kUnimplemented);
}

TEST_F(LoadTest, ARefusedReplyEndsTheLoad) {
  const auto result =
      client_->Call({.method = kYardstickEmpty,
                     .request = Numbered(1'000'000'000),
                     .reply =
                         [](uint64_t number, const grpc::ByteBuffer&) {
                           return number == 50 ? absl::DataLossError("wrong") : absl::OkStatus();
                         }},
                    absl::Minutes(1));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(LoadTest, StreamsGetEachMessageBack) {
  std::atomic<uint64_t> right{0};
  const auto result = client_->Converse(
      {.method = kYardstickEcho,
       .streams = 5,
       .request = Numbered(200),
       .reply =
           [&](uint64_t number, const grpc::ByteBuffer& reply) {
             right += ToString(reply) == "message " + std::to_string(number) ? 1 : 0;
             return absl::OkStatus();
           }},
      absl::Seconds(30));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->operations, 200U);
  EXPECT_EQ(right, 200U);
}

TEST_F(LoadTest, AStreamThatIsRefusedEndsTheLoad) {
  const auto result = client_->Converse(
      {.method = "/muster.bench.v1.Yardstick/Missing", .request = Numbered(1'000'000'000)},
      absl::Minutes(1));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kUnimplemented);
}

TEST_F(LoadTest, TheServersCpuTimeIsCounted) {
  const Meter meter(*server_);
  ASSERT_TRUE(
      client_->Call({.method = kYardstickEmpty, .request = Numbered(1'000)}, absl::Seconds(30))
          .ok());
  EXPECT_GT(meter.CpuTime(), absl::ZeroDuration());
}

TEST_F(LoadTest, ItsMemoryIsCounted) {
  const test::Usage usage = test::UsageOf(server_->pid());
  EXPECT_GT(usage.anonymous_bytes, 0U);
  // Program and libraries are mapped files.
  EXPECT_GT(usage.resident_bytes, usage.anonymous_bytes + (1 << 20));
}

TEST(DirectoryTest, ItsFilesAreCounted) {
  const test::TempDir dir;
  EXPECT_EQ(BytesIn(dir.path()), 0U);
  std::filesystem::create_directory(dir.path("inner"));
  std::ofstream(dir.path("one")) << "12345";
  std::ofstream(dir.path("inner/two")) << "678";
  EXPECT_EQ(BytesIn(dir.path()), 8U);
  EXPECT_EQ(BytesIn(dir.path("missing")), 0U);
}

TEST_F(LoadTest, AServerThatNobodyAsksIsQuiet) {
  const absl::Time begin = test::Now();
  EXPECT_TRUE(AwaitQuiet(*server_, absl::Milliseconds(20)).ok());
  EXPECT_GE(test::Now() - begin, absl::Milliseconds(20));
}

}  // namespace
}  // namespace muster::bench
