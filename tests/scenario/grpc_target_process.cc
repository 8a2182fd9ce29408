// A gRPC server with the health service, for health checks.
//
//   grpc_target_process MODE_FILE
//
// Serves on a free port of 127.0.0.1, which it prints. It is SERVING while MODE_FILE says
// "serving", looked at every 10 ms, and NOT_SERVING otherwise.
#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "muster/v1/discovery.grpc.pb.h"
#include "tests/support/process.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  int port = 0;
  // The health service alone would have no thread.
  muster::v1::Discovery::Service nothing;
  builder.RegisterService(&nothing);
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  const auto server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  std::printf("%d\n", port);
  std::fflush(stdout);
  bool serving = true;
  for (;;) {
    std::string mode;
    std::ifstream(argv[1]) >> mode;
    // Each call is told to who watches, new or not.
    if (serving != (mode == "serving")) {
      serving = !serving;
      server->GetHealthCheckService()->SetServingStatus(serving);
    }
    muster::test::Pause(absl::Milliseconds(10));
  }
}
