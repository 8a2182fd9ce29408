// The instance that all workloads register, so that their figures can be compared: 3 tags, 4
// metadata, 1 port, 1 check, about 330 bytes encoded. `number` tells instances apart; number n
// belongs to service n modulo the number of services. All encodings have the same length.
//
//   const v1::RegisterRequest request = MakeRegister(7, 100'000);
//   const NumberedBytes bytes(MakeRegister(0, 100'000).SerializeAsString(), 100'000);
//   bytes.For(7);  // the same, encoded
//
// Thread safety: all. Values.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "muster/v1/registry.pb.h"

namespace muster::bench {

// Highest number of instances and services that the fixture can tell apart.
constexpr size_t kMaxInstances = 2'000'000;
constexpr size_t kMaxServices = 1'000'000;

std::string ServiceName(size_t service);  // "service-000007"
std::string InstanceId(size_t number);    // "i-0000007"
v1::Instance MakeInstance(size_t number, size_t services);
// With a life and a TTL of 24 h: no lease ends during a run.
v1::RegisterRequest MakeRegister(size_t number, size_t services);
v1::InstanceKey KeyOf(size_t number, size_t services);

// Any message about instance 0, encoded, that can be turned into the one about another instance by
// overwriting its names: many times cheaper than encoding anew.
class NumberedBytes {
 public:
  NumberedBytes(std::string about_instance_0, size_t services);
  std::string For(size_t number) const;

 private:
  const size_t services_;
  const std::string bytes_;
  const std::vector<size_t> services_at_;
  const std::vector<size_t> ids_at_;
  const std::vector<size_t> addresses_at_;
};

// Requests that register the same instances again and again, each time with another version: a
// change that whoever watches can see. Encoded; all as long.
//
//   Updates updates(0, 10'000, 100);
//   updates.Next();  // instance 0, then 1, ...
//
// Thread safety: all. REQUIRES: the instances are registered as MakeRegister says.
class Updates {
 public:
  Updates(size_t first, size_t count, size_t services);
  std::string Next();

 private:
  const size_t first_;
  const size_t count_;
  const NumberedBytes odd_;
  const NumberedBytes even_;
  std::atomic<uint64_t> next_{0};
};

}  // namespace muster::bench
