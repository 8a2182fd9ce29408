// A service as users run it: registers, keeps its lease, and looks for its peers until it is
// killed. One line on stdout for each thing that it learns.
//
// usage: service_process ADDRESS SERVICE ID TTL_SECONDS PEER_SERVICE…
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "tests/support/remote.h"

namespace muster::test {
namespace {

v1::RegisterRequest MakeRequest(const std::string& service, const std::string& id, int ttl) {
  v1::RegisterRequest request;
  v1::Instance* instance = request.mutable_instance();
  instance->set_service(service);
  instance->set_id(id);
  instance->set_address("127.0.0.1");
  instance->set_port(static_cast<uint32_t>(1024 + getpid() % 60000));
  instance->add_tags("scenario");
  (*instance->mutable_metadata())["pid"] = std::to_string(getpid());
  request.mutable_ttl()->set_seconds(ttl);
  std::random_device random;
  for (int i = 0; i < 16; ++i) request.mutable_life_id()->push_back(static_cast<char>(random()));
  return request;
}

// False: a newer life has the key.
bool Beat(Remote& remote, const v1::RegisterRequest& request, v1::RegisterResponse& registered) {
  v1::HeartbeatRequest beat;
  beat.add_lease_handles(registered.lease_handle());
  v1::HeartbeatResponse answer;
  if (!remote.Heartbeat(beat, &answer).ok() || answer.outcomes_size() != 1) return true;
  if (answer.outcomes(0) == v1::HeartbeatResponse::STALE) return false;
  if (answer.outcomes(0) == v1::HeartbeatResponse::UNKNOWN) {
    std::cout << "expired" << std::endl;
    return remote.Register(request, &registered).ok();
  }
  return true;
}

int Main(const std::vector<std::string>& arguments) {
  Remote remote(arguments[0]);
  const v1::RegisterRequest request =
      MakeRequest(arguments[1], arguments[2], std::atoi(arguments[3].c_str()));
  v1::RegisterResponse registered;
  if (!remote.Register(request, &registered).ok()) return 1;
  std::cout << "registered " << registered.incarnation() << std::endl;
  for (size_t i = 4; i < arguments.size(); ++i) {
    const bool found = Eventually(
        [&] { return remote.Discover(arguments[i]).endpoints_size() > 0; }, absl::Seconds(30));
    if (!found) return 1;
  }
  std::cout << "found" << std::endl;
  const absl::Duration interval = absl::Seconds(registered.heartbeat_interval().seconds()) +
                                  absl::Nanoseconds(registered.heartbeat_interval().nanos());
  while (Beat(remote, request, registered)) Pause(interval);
  std::cout << "superseded" << std::endl;
  return 3;
}

}  // namespace
}  // namespace muster::test

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  return muster::test::Main({argv + 1, argv + argc});
}
