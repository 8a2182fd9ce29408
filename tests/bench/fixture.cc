#include "tests/bench/fixture.h"

#include <utility>

#include "absl/strings/str_format.h"

namespace muster::bench {
namespace {

// Three digits in each part, so that all addresses are as long.
std::string Address(size_t number) {
  return absl::StrFormat("10.%d.%d.%d", 100 + (number >> 14 & 127), 100 + (number >> 7 & 127),
                         100 + (number & 127));
}

std::vector<size_t> FindAll(const std::string& bytes, const std::string& text) {
  std::vector<size_t> places;
  for (size_t at = bytes.find(text); at != std::string::npos; at = bytes.find(text, at + 1)) {
    places.push_back(at);
  }
  return places;
}

std::string RegisterOfVersion(const std::string& version, size_t services) {
  v1::RegisterRequest request = MakeRegister(0, services);
  request.mutable_instance()->set_version(version);
  return request.SerializeAsString();
}

void Overwrite(const std::vector<size_t>& places, const std::string& text, std::string& bytes) {
  for (const size_t at : places) bytes.replace(at, text.size(), text);
}

}  // namespace

std::string ServiceName(size_t service) { return absl::StrFormat("service-%06d", service); }

std::string InstanceId(size_t number) { return absl::StrFormat("i-%07d", number); }

v1::Instance MakeInstance(size_t number, size_t services) {
  v1::Instance instance;
  instance.set_service(ServiceName(number % services));
  instance.set_id(InstanceId(number));
  instance.set_address(Address(number));
  instance.set_port(8080);
  instance.add_tags("production");
  instance.add_tags("http");
  instance.add_tags("canary-group-b");
  // In the order of encoding, which is not sorted: only a fixed content makes it stable.
  (*instance.mutable_metadata())["team"] = "payments-platform";
  (*instance.mutable_metadata())["commit"] = "4f1d9c7be02a6d83c51f7ab09e2468d1350cfe97";
  (*instance.mutable_metadata())["build"] = "2024-11-05T10:22:31Z";
  (*instance.mutable_metadata())["image"] = "registry.example.com/payments/api:2.7.1";
  instance.mutable_locality()->set_region("eu-central-1");
  instance.mutable_locality()->set_zone("eu-central-1b");
  instance.set_version("2.7.1-rc.3");
  instance.set_protocol("http");
  v1::Check* check = instance.add_checks();
  check->set_id("ready");
  check->set_name("the process reports itself");
  check->mutable_ttl()->mutable_ttl()->set_seconds(86'400);
  check->set_initial_status(v1::PASSING);
  return instance;
}

v1::RegisterRequest MakeRegister(size_t number, size_t services) {
  v1::RegisterRequest request;
  *request.mutable_instance() = MakeInstance(number, services);
  request.set_life_id("0123456789abcdef");
  request.mutable_ttl()->set_seconds(24 * 3600);
  return request;
}

v1::InstanceKey KeyOf(size_t number, size_t services) {
  v1::InstanceKey key;
  key.set_service(ServiceName(number % services));
  key.set_id(InstanceId(number));
  return key;
}

NumberedBytes::NumberedBytes(std::string about_instance_0, size_t services)
    : services_(services),
      bytes_(std::move(about_instance_0)),
      services_at_(FindAll(bytes_, ServiceName(0))),
      ids_at_(FindAll(bytes_, InstanceId(0))),
      addresses_at_(FindAll(bytes_, Address(0))) {}

std::string NumberedBytes::For(size_t number) const {
  std::string out = bytes_;
  Overwrite(services_at_, ServiceName(number % services_), out);
  Overwrite(ids_at_, InstanceId(number), out);
  if (!addresses_at_.empty()) Overwrite(addresses_at_, Address(number), out);
  return out;
}

Updates::Updates(size_t first, size_t count, size_t services)
    : first_(first),
      count_(count),
      odd_(RegisterOfVersion("2.7.1-rc.4", services), services),
      even_(RegisterOfVersion("2.7.1-rc.5", services), services) {}

std::string Updates::Next() {
  const uint64_t number = next_.fetch_add(1, std::memory_order_relaxed);
  return (number / count_ % 2 == 0 ? odd_ : even_).For(first_ + number % count_);
}

}  // namespace muster::bench
