// Calls that answer in pages, read to the end as one answer.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "client/cli/connection.h"

namespace muster::cli {

// How often the pages may change under the reader before that is called a failure.
constexpr int kMaxPageStarts = 5;

// `append(page, all)` moves the items of a later page; the other fields stay those of the first.
// `enough(all)` ends it early. Starts again when the server no longer has what the pages were of
// (ABORTED).
template <typename Service, typename Request, typename Response, typename Append, typename Enough>
absl::Status ReadPages(Connection& connection,
                       grpc::Status (Service::Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                       Request request, Response* all, const Append& append, const Enough& enough) {
  for (int start = 1;;) {
    Response page;
    const absl::Status status = CallUnary<Service>(connection, method, request, &page);
    if (absl::IsAborted(status) && start++ < kMaxPageStarts) {
      request.clear_page_token();
      continue;
    }
    if (!status.ok()) return status;
    const std::string next = page.next_page_token();
    page.clear_next_page_token();
    if (request.page_token().empty()) {
      *all = std::move(page);
    } else {
      append(page, all);
    }
    if (next.empty() || enough(*all)) return absl::OkStatus();
    if (next == request.page_token()) return absl::InternalError("the server's pages have no end");
    request.set_page_token(next);
  }
}

}  // namespace muster::cli
