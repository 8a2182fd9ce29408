#include "server/app/descriptors.h"

#include <sys/resource.h>

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/log.h"

namespace muster::app {

absl::StatusOr<DescriptorShare> ShareDescriptors(int64_t limit) {
  if (limit < kFewestDescriptors) {
    return base::MakeError(
        absl::StatusCode::kFailedPrecondition, base::Reason::kInvalidField,
        absl::StrCat("the limit of open files is ", limit, "; at least ", kFewestDescriptors,
                     " are needed, ", 2 * kReservedDescriptors,
                     " for a large store: raise it with ulimit -n, or LimitNOFILE of the service"));
  }
  DescriptorShare share{.limit = limit};
  share.reserved = static_cast<int>(std::min<int64_t>(kReservedDescriptors, limit / 2));
  share.probe_channels = (limit - share.reserved) / 4;
  share.store_files = share.reserved - kOwnDescriptors;
  return share;
}

int64_t RaiseDescriptorLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t soft = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  if (soft != limit.rlim_max && setrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = soft;
  const int64_t in_force =
      static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, std::numeric_limits<int>::max()));
  if (limit.rlim_cur == soft) {
    base::Log(base::LogLevel::kInfo, "limit of open files", {{"limit", absl::StrCat(in_force)}});
  } else {
    base::Log(base::LogLevel::kInfo, "limit of open files",
              {{"limit", absl::StrCat(in_force)}, {"raised_from", absl::StrCat(soft)}});
  }
  return in_force;
}

}  // namespace muster::app
