#include "tests/bench/requests.h"

#include <atomic>
#include <memory>
#include <vector>

#include "base/rng.h"
#include "muster/v1/discovery.pb.h"
#include "tests/bench/fixture.h"

namespace muster::bench {

MakeRequest Rewrites(size_t instances, size_t services) {
  struct State {
    std::vector<NumberedBytes> ports;
    std::atomic<size_t> next{0};
  };
  auto state = std::make_shared<State>();
  v1::RegisterRequest request = MakeRegister(0, services);
  const uint32_t filled = request.instance().port();
  for (const uint32_t port : {filled + 1, filled}) {
    request.mutable_instance()->set_port(port);
    state->ports.emplace_back(request.SerializeAsString(), services);
  }
  return [state, instances](uint64_t, grpc::ByteBuffer* buffer) {
    const size_t number = state->next.fetch_add(1, std::memory_order_relaxed);
    const NumberedBytes& bytes = state->ports[number / instances % state->ports.size()];
    *buffer = ToBuffer(bytes.For(number % instances));
    return true;
  };
}

MakeRequest DiscoverAny(size_t services) {
  return [services](uint64_t number, grpc::ByteBuffer* buffer) {
    v1::DiscoverRequest request;
    request.set_service(ServiceName(base::SeededRng(number).Uniform(services)));
    *buffer = ToBuffer(request.SerializeAsString());
    return true;
  };
}

}  // namespace muster::bench
