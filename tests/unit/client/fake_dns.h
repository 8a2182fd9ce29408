// DNS of the test's.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/fallback/dns.h"

namespace muster::client::testing {

class FakeDns : public DnsResolver {
 public:
  struct Call {
    Address host;
    Done done;
  };
  void Lookup(const Address& host, Done done) override {
    ++asked;
    calls.push_back({host, std::move(done)});
  }
  // Answers the oldest question.
  void Answer(const std::vector<std::string>& hosts, absl::Duration ttl = absl::Seconds(60)) {
    DnsAnswer answer{.ttl = ttl};
    for (const std::string& host : hosts) {
      answer.endpoints.push_back(std::make_shared<const Endpoint>(
          Endpoint{.id = host, .address = {host, calls.front().host.port}}));
    }
    Finish(std::move(answer));
  }
  void Fail(absl::Status status) { Finish(std::move(status)); }

  std::deque<Call> calls;
  int asked = 0;

 private:
  void Finish(absl::StatusOr<DnsAnswer> answer) {
    const Call call = std::move(calls.front());
    calls.pop_front();
    call.done(std::move(answer));
  }
};

}  // namespace muster::client::testing
