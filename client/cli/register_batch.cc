#include "client/cli/register_batch.h"

#include <ostream>

#include "absl/strings/str_cat.h"
#include "base/duration_text.h"
#include "client/cli/parse.h"
#include "client/cli/render.h"
#include "muster/v1/registry.grpc.pb.h"

namespace muster::cli {
namespace {

// What the file calls an instance.
std::string NameOf(const v1::Instance& instance, int number) {
  v1::InstanceKey key;
  key.set_namespace_(instance.namespace_().empty() ? "default" : instance.namespace_());
  key.set_service(instance.service());
  key.set_node(instance.node());
  key.set_id(instance.id().empty() ? "(made by the server)" : instance.id());
  return absl::StrCat("instance ", number, ", ", KeyText(key));
}

absl::Status StatusOf(const google::rpc::Status& status) {
  return FromRpc(grpc::Status(static_cast<grpc::StatusCode>(status.code()), status.message(),
                              status.SerializeAsString()));
}

}  // namespace

std::string RegisteredText(const v1::RegisterResponse& response) {
  return absl::StrCat(response.changed() ? "registered " : "renewed ", KeyText(response.key()),
                      " incarnation ", response.incarnation(),
                      response.has_ttl()
                          ? absl::StrCat(" ttl ", base::FormatDuration(ToDuration(response.ttl())))
                          : " permanent");
}

int RegisterBatch(Context& context, const std::vector<v1::RegisterRequest>& requests) {
  v1::BatchRegisterRequest batch;
  for (const v1::RegisterRequest& request : requests) {
    *batch.add_requests() = request;
    if (!request.instance().service().empty()) continue;
    return context.Usage(
        absl::StrCat("instance ", batch.requests_size(), " of the file names no service"));
  }
  if (const int code = context.Connect()) return code;
  v1::BatchRegisterResponse response;
  const absl::Status status = CallUnary<v1::Registry>(
      *context.connection, &v1::Registry::Stub::BatchRegister, batch, &response);
  if (!status.ok()) return context.Fail(status);
  if (response.results_size() != batch.requests_size()) {
    return context.Fail(absl::InternalError("the server did not answer for each instance"));
  }
  if (context.json) context.PrintJson(response);
  int failed = 0;
  for (int i = 0; i < response.results_size(); ++i) {
    const v1::BatchRegisterResult& result = response.results(i);
    if (result.status().code() != 0) {
      ++failed;
      context.Note(absl::StrCat(NameOf(batch.requests(i).instance(), i + 1), ": ",
                                StatusOf(result.status()).message()));
    } else if (!context.json) {
      context.out << RegisteredText(result.response()) << std::endl;
    }
  }
  if (failed == 0) return kDone;
  context.Note(absl::StrCat(failed, " of ", Count(requests.size(), "instance"),
                            failed == 1 ? " was" : " were", " not registered"));
  return kFailed;
}

}  // namespace muster::cli
