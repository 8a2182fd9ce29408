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

template <typename Request>
struct BadRequest {
  std::string what;
  std::function<void(Request&)> spoil;
  Wanted wanted;
};

// Of a request that adds an http check in the place of another one.
inline std::vector<BadRequest<v1::AddCheckRequest>> BadAdditions() {
  using R = v1::AddCheckRequest;
  const auto seconds = [](int64_t n) {
    return [n](R& r) { r.mutable_check()->mutable_interval()->set_seconds(n); };
  };
  const auto url = [](const std::string& text) {
    return [text](R& r) { r.mutable_check()->mutable_http()->set_url(text); };
  };
  return {
      {"a 33rd check", [](R& r) { r.mutable_check()->set_id("one more"); },
       BadField("check", "the instance has 32 checks; at most 32")},
      {"check without id", [](R& r) { r.mutable_check()->clear_id(); },
       BadField("check.id", "is empty")},
      {"check without kind", [](R& r) { r.mutable_check()->clear_kind(); },
       BadField("check.kind", "is not set; allowed: http, tcp, grpc, ttl")},
      {"interval of 0", seconds(0), BadField("check.interval", "is 0; allowed: 1s to 24h")},
      {"negative interval", seconds(-7), BadField("check.interval", "is -7s; allowed: 1s to 24h")},
      {"huge interval", seconds(1'000'000'000'000),
       BadField("check.interval", "allowed: 1s to 24h")},
      {"timeout over the interval",
       [](R& r) {
         r.mutable_check()->mutable_interval()->set_seconds(2);
         r.mutable_check()->mutable_timeout()->set_seconds(3);
       },
       BadField("check.timeout", "is 3s; allowed: 1ms to 2s")},
      {"URL with a password", url("http://me:secret@10.0.0.1/"),
       BadField("check.http.url", "has a user name or a password")},
      {"URL of another scheme", url("gopher://10.0.0.1/"),
       BadField("check.http.url", "allowed: /PATH, http://HOST:PORT/PATH")},
      {"URL with a space", url("/a b"), BadField("check.http.url", "contains ' ' at 2")},
      {"URL with an escape sequence", url("/\x1b[2J"), BadField("check.http.url", "\\x1b")},
      {"header with a line end",
       [](R& r) { (*r.mutable_check()->mutable_http()->mutable_headers())["A"] = "b\r\nC: d"; },
       BadField("check.http.headers", "\\x0d")},
      {"check of nobody",
       [](R& r) { r.mutable_key()->set_id("nobody"); },
       {grpc::StatusCode::NOT_FOUND, "INSTANCE_NOT_FOUND", "", "has no instance"}},
  };
}

// Of an empty request that says "on".
inline std::vector<BadRequest<v1::SetMaintenanceRequest>> BadMaintenance() {
  using R = v1::SetMaintenanceRequest;
  return {
      {"neither key nor node", [](R&) {}, BadField("target", "target is not set")},
      {"maintenance of no id", [](R& r) { r.mutable_key()->set_service("bad"); },
       BadField("key.id", "id is empty")},
      {"maintenance of no service", [](R& r) { r.mutable_key()->set_id("b-1"); },
       BadName("key.service", "service name is empty")},
      {"maintenance of no node", [](R& r) { r.mutable_node(); },
       BadField("node.node", "node is empty; allowed: 1 to 255 bytes")},
      {"maintenance of a long node",
       [](R& r) { r.mutable_node()->set_node(std::string(256, 'n')); },
       BadField("node.node", "has 256 bytes; at most 255")},
      {"maintenance of a node with a zero",
       [](R& r) { r.mutable_node()->set_node(std::string("a\0b", 3)); },
       BadField("node.node", "node")},
      {"maintenance in a namespace with a space",
       [](R& r) {
         r.mutable_node()->set_node("n1");
         r.mutable_node()->set_namespace_("a b");
       },
       BadName("node.namespace", "contains ' ' at 1")},
      {"a long reason",
       [](R& r) {
         r.mutable_node()->set_node("n1");
         r.set_reason(std::string(513, 'r'));
       },
       BadField("reason", "has 513 bytes; at most 512")},
      {"a reason with an escape sequence",
       [](R& r) {
         r.mutable_node()->set_node("n1");
         r.set_reason("a\x1b[2Jb");
       },
       BadField("reason", "allowed: printable UTF-8")},
  };
}

// Of a request for a service that nobody knows.
inline std::vector<BadRequest<v1::SetServiceSettingsRequest>> BadSettings() {
  using R = v1::SetServiceSettingsRequest;
  const auto share = [](double value) {
    return [value](R& r) { r.mutable_settings()->set_brake_share(value); };
  };
  const auto ttl = [](int64_t seconds) {
    return [seconds](R& r) { r.mutable_settings()->mutable_default_ttl()->set_seconds(seconds); };
  };
  const std::string allowed = "allowed: 0 to 1";
  return {
      {"settings of no service", [](R& r) { r.clear_service(); },
       BadName("service", "service name is empty")},
      {"settings of a long service", [](R& r) { r.set_service(std::string(129, 's')); },
       BadName("service", "has 129 bytes; at most 128")},
      {"settings in a bad namespace", [](R& r) { r.set_namespace_("a b"); },
       BadName("namespace", "contains ' ' at 1")},
      {"a negative share", share(-0.5), BadField("settings.brake_share", "is -0.5; " + allowed)},
      {"a share of 2", share(2), BadField("settings.brake_share", "is 2; " + allowed)},
      {"a share that is no number", share(std::numeric_limits<double>::quiet_NaN()),
       BadField("settings.brake_share", allowed)},
      {"an endless share", share(std::numeric_limits<double>::infinity()),
       BadField("settings.brake_share", allowed)},
      {"a default ttl of 0 s", ttl(0), BadField("settings.default_ttl", "allowed: 1s to 24h")},
      {"a huge default ttl", ttl(std::numeric_limits<int64_t>::max()),
       BadField("settings.default_ttl", "allowed: 1s to 24h")},
      {"slow start",
       [](R& r) { r.mutable_settings()->mutable_slow_start()->set_seconds(1); },
       {grpc::StatusCode::INVALID_ARGUMENT, "NOT_IN_THIS_RELEASE", "settings.slow_start",
        "slow_start is not in this release"}},
  };
}

}  // namespace muster::test
