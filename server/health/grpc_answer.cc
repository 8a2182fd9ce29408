#include "server/health/grpc_answer.h"

#include <algorithm>
#include <array>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "grpc/health/v1/health.pb.h"
#include "server/health/output.h"

namespace muster::health {
namespace {

using Serving = grpc::health::v1::HealthCheckResponse;

// "service "x": ", or that it is the server as a whole.
std::string Asked(std::string_view service) {
  return service.empty() ? "the server" : absl::StrCat("service ", base::Quoted(service));
}

// What connecting ends with when nobody is there. gRPC has no code for it, only the text of the
// operating system.
constexpr std::array<std::string_view, 6> kUnreached = {
    "Cannot assign requested address", "Connection timed out", "Host is down", "Network is down",
    "Network is unreachable",          "No route to host"};
// What this server lacks.
constexpr std::array<std::string_view, 3> kOurs = {
    "Cannot allocate memory", "No buffer space available", "Too many open files"};
constexpr std::array<std::string_view, 1> kNoPort = {"Cannot assign requested address"};

bool HoldsOneOf(std::string_view text, const auto& parts) {
  return std::any_of(parts.begin(), parts.end(), [text](std::string_view part) {
    return absl::StrContains(base::Av(text), base::Av(part));
  });
}

// Out of "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.7:80: No route to
// host" the end.
std::string_view Cause(std::string_view message) {
  constexpr std::string_view kLast = "last error: ";
  const size_t last = message.find(kLast);
  if (last == std::string_view::npos) return message;
  message.remove_prefix(last + kLast.size());
  for (int part = 0; part < 2; ++part) {
    const size_t end = message.find(": ");
    if (end == std::string_view::npos) break;
    message.remove_prefix(end + 2);
  }
  return message;
}

ProbeResult NoAnswer(std::string_view message, std::string_view peer) {
  if (HoldsOneOf(message, std::array<std::string_view, 1>{"Connection refused"})) {
    return Failing(false, absl::StrCat("connection refused by ", base::Av(peer)));
  }
  ProbeResult result =
      Failing(!HoldsOneOf(message, kUnreached),
              absl::StrCat("no gRPC answer from ", base::Av(peer), ": ", base::Av(Cause(message))));
  // Without IPv6 on this machine, no address of it can be assigned: of that, no end is in sight.
  const bool no_port = HoldsOneOf(message, kNoPort) && !peer.starts_with('[');
  if (HoldsOneOf(message, kOurs) || no_port) {
    result.outcome = ProbeResult::Outcome::kNotRun;
    result.reached = false;
  }
  return result;
}

std::string_view CodeName(grpc::StatusCode code) {
  static constexpr std::array<std::string_view, 17> kNames = {"OK",
                                                              "CANCELLED",
                                                              "UNKNOWN",
                                                              "INVALID_ARGUMENT",
                                                              "DEADLINE_EXCEEDED",
                                                              "NOT_FOUND",
                                                              "ALREADY_EXISTS",
                                                              "PERMISSION_DENIED",
                                                              "RESOURCE_EXHAUSTED",
                                                              "FAILED_PRECONDITION",
                                                              "ABORTED",
                                                              "OUT_OF_RANGE",
                                                              "UNIMPLEMENTED",
                                                              "INTERNAL",
                                                              "UNAVAILABLE",
                                                              "DATA_LOSS",
                                                              "UNAUTHENTICATED"};
  const auto index = static_cast<size_t>(code);
  return index < kNames.size() ? kNames[index] : "a status that isn't known";
}

}  // namespace

GrpcAnswer AnswerOf(const grpc::ClientContext& context, const grpc::Status& status) {
  const bool from_target =
      status.ok() || absl::StrContains(context.debug_error_string(), "Error received from peer");
  return {status, from_target};
}

bool IsUnimplemented(const GrpcAnswer& answer) {
  return answer.from_target && answer.status.error_code() == grpc::StatusCode::UNIMPLEMENTED;
}

ProbeResult JudgeServing(int serving, std::string_view service) {
  const std::string asked = Asked(service);
  switch (serving) {
    case Serving::SERVING:
      return Passing(absl::StrCat(asked, " is SERVING"));
    case Serving::UNKNOWN: {
      ProbeResult result = Passing(absl::StrCat(asked, " is UNKNOWN"));
      result.outcome = ProbeResult::Outcome::kWarning;
      return result;
    }
    case Serving::NOT_SERVING:
      return Failing(true, absl::StrCat(asked, " is NOT_SERVING"));
    case Serving::SERVICE_UNKNOWN:
      return Failing(true, absl::StrCat(asked, " is SERVICE_UNKNOWN to the target"));
    default:
      return Failing(true, absl::StrCat(asked, " has the status ", serving, ", which isn't known"));
  }
}

ProbeResult JudgeFailure(const GrpcAnswer& answer, std::string_view service,
                         std::string_view peer) {
  const std::string message = answer.status.error_message();
  if (!answer.from_target) return NoAnswer(message, peer);
  if (answer.status.error_code() == grpc::StatusCode::NOT_FOUND) {
    return Failing(true, absl::StrCat(Asked(service), " is NOT_FOUND by ", base::Av(peer),
                                      message.empty() ? "" : ": ", message));
  }
  if (IsUnimplemented(answer)) {
    return Failing(true, absl::StrCat(base::Av(peer), " doesn't offer grpc.health.v1.Health: ",
                                      "UNIMPLEMENTED", message.empty() ? "" : ": ", message));
  }
  return Failing(true, absl::StrCat(base::Av(peer), " answered ",
                                    base::Av(CodeName(answer.status.error_code())),
                                    message.empty() ? "" : ": ", message));
}

}  // namespace muster::health
