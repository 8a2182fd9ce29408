// What the tests of faults ask of a server: short calls, reasons, and starts that fail.
#pragma once

#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {

inline v1::RegisterRequest Registration(const std::string& service, const std::string& id,
                                        size_t tag_bytes = 10) {
  v1::RegisterRequest request;
  auto& instance = *request.mutable_instance();
  instance.set_service(service);
  instance.set_id(id);
  instance.set_address("10.0.0.1");
  instance.set_port(80);
  for (; tag_bytes > 0; tag_bytes -= std::min<size_t>(tag_bytes, 1000)) {
    instance.add_tags(std::string(std::min<size_t>(tag_bytes, 1000), 't'));
  }
  request.set_permanent(true);
  return request;
}

// One call without waiting for the server to come up.
inline grpc::Status TryRegister(Remote& remote, const v1::RegisterRequest& request) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(Now() + absl::Seconds(20)));
  v1::RegisterResponse response;
  return remote.registry->Register(&context, request, &response);
}
inline grpc::Status TryDeregister(Remote& remote, const std::string& service,
                                  const std::string& id) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(Now() + absl::Seconds(20)));
  v1::DeregisterRequest request;
  request.mutable_key()->set_service(service);
  request.mutable_key()->set_id(id);
  v1::DeregisterResponse response;
  return remote.registry->Deregister(&context, request, &response);
}
inline bool SaysWhenToRetry(const grpc::Status& status) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return false;
  for (const auto& detail : details.details()) {
    if (detail.Is<google::rpc::RetryInfo>()) return true;
  }
  return false;
}
inline std::vector<std::string> Problems(Remote& remote) {
  grpc::ClientContext context;
  Remote::Prepare(context);
  v1::VerifyResponse response;
  const grpc::Status status = remote.admin->Verify(&context, {}, &response);
  if (!status.ok()) return {status.error_message()};
  return {response.problems().begin(), response.problems().end()};
}
inline std::string TextOf(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A musterd that ends instead of serving.
struct FailedStart {
  std::optional<int> code;  // nullopt: it serves, or hangs
  std::string err;
};
inline FailedStart StartAndFail(const std::vector<std::string>& before, const std::string& data_dir,
                                const std::string& log,
                                const std::vector<std::string>& flags = {}) {
  std::vector<std::string> argv = before;
  for (const std::string& word :
       {BinDir() + "/musterd", std::string("--data-dir"), data_dir, std::string("--grpc-listen"),
        std::string("127.0.0.1:0"), std::string("--http-listen"), std::string("off"),
        std::string("--dns-listen"), std::string("off")}) {
    argv.push_back(word);
  }
  argv.insert(argv.end(), flags.begin(), flags.end());
  std::ofstream(log, std::ios::trunc).flush();
  Process process(argv, log);
  if (process.ReadLine(absl::Seconds(60))) return {std::nullopt, "it serves"};
  FailedStart out;
  out.code = process.Wait();
  out.err = TextOf(log);
  return out;
}

}  // namespace muster::test
