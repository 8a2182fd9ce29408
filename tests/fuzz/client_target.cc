#include "base/text.h"
#include "muster/client/target.h"
#include "tests/fuzz/targets.h"

namespace muster::fuzz {

void ClientTarget(std::string_view data) {
  const auto target = client::ParseTarget(data);
  if (!target.ok()) {
    Require(base::IsPrintableUtf8(std::string(target.status().message())),
            "an error can be shown on a terminal");
    return;
  }
  using Kind = client::Target::Kind;
  Require((target->kind == Kind::kService) == !target->query.service.empty(),
          "what is a service has a name");
  Require((target->kind == Kind::kStatic) == !target->addresses.empty(),
          "what is static has addresses");
  Require(target->kind == Kind::kStatic || !target->dns.host.empty(), "DNS has a name");
  if (target->before.empty()) return;
  Require(target->kind != Kind::kStatic || target->addresses.size() == 1, "a URL has one host");
  const client::Address& at =
      target->kind == Kind::kStatic ? target->addresses.front() : target->dns;
  const auto again = client::ParseTarget(target->Url(at.host, at.port));
  Require(again.ok() && *again == *target, "a URL is read as it was written");
}

}  // namespace muster::fuzz
