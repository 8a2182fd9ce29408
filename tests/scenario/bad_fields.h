// Registrations that are wrong in one field each, and what a server has to say to them.
#pragma once

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "muster/v1/registry.pb.h"
#include "tests/scenario/abuse.h"

namespace muster::test {

inline v1::RegisterRequest Good(const std::string& service, const std::string& id) {
  v1::RegisterRequest request;
  request.mutable_instance()->set_service(service);
  request.mutable_instance()->set_id(id);
  request.mutable_instance()->set_address("10.0.0.1");
  request.mutable_instance()->set_port(8080);
  request.set_permanent(true);
  return request;
}

struct BadInstance {
  std::string what;
  std::function<void(v1::RegisterRequest&, v1::Instance&)> spoil;
  Wanted wanted;
};

inline Wanted BadName(const std::string& field, const std::string& message) {
  return {grpc::StatusCode::INVALID_ARGUMENT, "NAME_INVALID", field, message};
}
inline Wanted BadField(const std::string& field, const std::string& message) {
  return {grpc::StatusCode::INVALID_ARGUMENT, "INVALID_FIELD", field, message};
}

inline std::vector<BadInstance> BadNames() {
  return {
      {"long service",
       [](v1::RegisterRequest&, v1::Instance& i) { i.set_service(std::string(129, 's')); },
       BadName("instance.service", "has 129 bytes; at most 128")},
      {"long namespace",
       [](v1::RegisterRequest&, v1::Instance& i) { i.set_namespace_(std::string(129, 'n')); },
       BadName("instance.namespace", "has 129 bytes; at most 128")},
      {"no service", [](v1::RegisterRequest&, v1::Instance& i) { i.clear_service(); },
       BadName("instance.service", "service name is empty")},
      {"service with a space", [](v1::RegisterRequest&, v1::Instance& i) { i.set_service("a b"); },
       BadName("instance.service", "contains ' ' at 1")},
      {"service with a line end",
       [](v1::RegisterRequest&, v1::Instance& i) { i.set_service("a\nb"); },
       BadName("instance.service", "service name")},
      {"service with an escape sequence",
       [](v1::RegisterRequest&, v1::Instance& i) { i.set_service("a\x1b[2Jb"); },
       BadName("instance.service", "service name")},
      {"long node",
       [](v1::RegisterRequest&, v1::Instance& i) { i.set_node(std::string(256, 'n')); },
       BadField("instance.node", "has 256 bytes; at most 255")},
      {"node with a zero",
       [](v1::RegisterRequest&, v1::Instance& i) { i.set_node(std::string("a\0b", 3)); },
       BadField("instance.node", "node")},
      {"long id", [](v1::RegisterRequest&, v1::Instance& i) { i.set_id(std::string(256, 'i')); },
       BadField("instance.id", "has 256 bytes; at most 255")},
      {"id with a bell", [](v1::RegisterRequest&, v1::Instance& i) { i.set_id("a\ab"); },
       BadField("instance.id", "id")},
  };
}

inline std::vector<BadInstance> BadFields() {
  return {
      {"0.0.0.0", [](v1::RegisterRequest&, v1::Instance& i) { i.set_address("0.0.0.0"); },
       BadField("instance.address", "address is 0.0.0.0")},
      {"::", [](v1::RegisterRequest&, v1::Instance& i) { i.set_address("::"); },
       BadField("instance.address", "address is ::")},
      {"0:0:0:0:0:0:0:0",
       [](v1::RegisterRequest&, v1::Instance& i) { i.set_address("0:0:0:0:0:0:0:0"); },
       BadField("instance.address", "address is 0:0")},
      {"address with a port",
       [](v1::RegisterRequest&, v1::Instance& i) { i.set_address("10.0.0.1:80"); },
       BadField("instance.address", "without a port")},
      {"a second 0.0.0.0",
       [](v1::RegisterRequest&, v1::Instance& i) { i.add_additional_addresses("0.0.0.0"); },
       BadField("instance.additional_addresses[0]", "additional_addresses[0] is 0.0.0.0")},
      {"port 70000", [](v1::RegisterRequest&, v1::Instance& i) { i.set_port(70'000); },
       BadField("instance.port", "port is 70000")},
      {"named port 70000",
       [](v1::RegisterRequest&, v1::Instance& i) { (*i.mutable_named_ports())["admin"] = 70'000; },
       BadField("instance.named_ports", "is 70000")},
      {"empty tag", [](v1::RegisterRequest&, v1::Instance& i) { i.add_tags(""); },
       BadField("instance.tags[0]", "tags[0] is empty")},
      {"long tag",
       [](v1::RegisterRequest&, v1::Instance& i) { i.add_tags(std::string(1025, 't')); },
       BadField("instance.tags[0]", "has 1025 bytes")},
      {"long metadata",
       [](v1::RegisterRequest&, v1::Instance& i) {
         (*i.mutable_metadata())["k"] = std::string(513, 'v');
       },
       BadField("instance.metadata", "has 513 bytes")},
      {"weight",
       [](v1::RegisterRequest&, v1::Instance& i) { i.mutable_weight()->set_passing(65'536); },
       BadField("instance.weight.passing", "weight.passing is 65536")},
      {"17 KiB",
       [](v1::RegisterRequest&, v1::Instance& i) {
         for (int t = 0; t < 17; ++t) i.add_tags(std::string(1024, 't'));
       },
       {grpc::StatusCode::INVALID_ARGUMENT, "INSTANCE_TOO_LARGE", "instance", "at most 16384"}},
      {"life of 15 bytes",
       [](v1::RegisterRequest& r, v1::Instance&) { r.set_life_id(std::string(15, 'l')); },
       BadField("life_id", "life_id has 15 bytes")},
      {"negative ttl",
       [](v1::RegisterRequest& r, v1::Instance&) {
         r.clear_permanent();
         r.mutable_ttl()->set_seconds(-5);
       },
       BadField("ttl", "ttl is -5s")},
      {"no ttl at all",
       [](v1::RegisterRequest& r, v1::Instance&) {
         r.clear_permanent();
         r.mutable_ttl();
       },
       BadField("ttl", "ttl is 0")},
      {"huge ttl",
       [](v1::RegisterRequest& r, v1::Instance&) {
         r.clear_permanent();
         r.mutable_ttl()->set_seconds(std::numeric_limits<int64_t>::max());
       },
       BadField("ttl", "allowed: 1s to 24h")},
      {"hugely negative ttl",
       [](v1::RegisterRequest& r, v1::Instance&) {
         r.clear_permanent();
         r.mutable_ttl()->set_seconds(std::numeric_limits<int64_t>::min());
       },
       BadField("ttl", "allowed: 1s to 24h")},
      {"ttl and permanent",
       [](v1::RegisterRequest& r, v1::Instance&) { r.mutable_ttl()->set_seconds(5); },
       BadField("ttl", "ttl and permanent")},
  };
}

}  // namespace muster::test
