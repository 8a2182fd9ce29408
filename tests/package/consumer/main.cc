// What an application sees: headers and libraries of the installed package, nothing else.
#include <iostream>

#include "base/errors.h"
#include "muster/v1/registry.grpc.pb.h"

int main() {
  muster::v1::Instance instance;
  instance.set_service("web");
  std::cout << muster::base::ReasonName(muster::base::Reason::kStaleIncarnation) << " "
            << instance.service() << "\n";
  return muster::v1::Registry::service_full_name() == std::string("muster.v1.Registry") ? 0 : 1;
}
