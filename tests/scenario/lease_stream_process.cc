// A service that keeps its lease on one KeepAlive stream and never tries again.
// Prints "kept" after each answer and "ended CODE" when the stream is lost.
//
// usage: lease_stream_process ADDRESS SERVICE TTL_SECONDS
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "tests/support/remote.h"

namespace muster::test {
namespace {

bool Register(Remote& remote, const std::string& service, int ttl, uint64_t* handle) {
  v1::RegisterRequest request;
  v1::Instance* instance = request.mutable_instance();
  instance->set_service(service);
  instance->set_address("192.0.2.9");
  instance->set_port(80);
  request.mutable_ttl()->set_seconds(ttl);
  v1::RegisterResponse response;
  if (!remote.Register(request, &response).ok()) return false;
  *handle = response.lease_handle();
  return true;
}

int Main(const std::vector<std::string>& arguments) {
  Remote remote(arguments[0]);
  const int ttl = std::atoi(arguments[2].c_str());
  v1::HeartbeatRequest beat;
  uint64_t handle = 0;
  if (!Register(remote, arguments[1], ttl, &handle)) return 1;
  beat.add_lease_handles(handle);
  grpc::ClientContext context;
  const auto stream = remote.registry->KeepAlive(&context);
  v1::HeartbeatResponse answer;
  while (stream->Write(beat) && stream->Read(&answer)) {
    if (answer.outcomes_size() != 1 || answer.outcomes(0) != v1::HeartbeatResponse::RENEWED) break;
    std::cout << "kept" << std::endl;
    Pause(absl::Seconds(ttl) / 3);
  }
  context.TryCancel();
  std::cout << "ended " << stream->Finish().error_code() << std::endl;
  return 0;
}

}  // namespace
}  // namespace muster::test

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  return muster::test::Main({argv + 1, argv + argc});
}
