#include "server/core/brake_log.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/log.h"
#include "base/text.h"
#include "storage/schema.h"

namespace muster::core {
namespace {

using Kind = BrakeEvent::Kind;
using Level = BrakeGroup::Level;

constexpr absl::Duration kWindow = absl::Seconds(10);
constexpr int kLines = 10;

// "service default/web in zone z1"
std::string NameOf(const BrakeGroup& group, std::string_view zone) {
  if (group.level == Level::kServer) return "all leases";
  const std::string where = absl::StrCat("zone \"", base::EscapeForTerminal(zone), "\"");
  const auto names = storage::DecodeServiceKey(group.service_key);
  if (group.level == Level::kZone || !names) return where;
  return absl::StrCat("service ", base::Av(names->ns), "/", base::Av(names->service), " in ",
                      where);
}

void Write(const BrakeEvent& event, std::string group) {
  switch (event.kind) {
    case Kind::kHolds:
      base::Log(base::LogLevel::kWarn, "too many leases fell silent: the brake holds the overdue",
                {{"group", std::move(group)},
                 {"silent", absl::StrCat(event.silence.silent)},
                 {"leases", absl::StrCat(event.silence.leases)},
                 {"share", absl::StrFormat("%.3f", static_cast<double>(event.silence.silent) /
                                                       static_cast<double>(event.silence.leases))},
                 {"limit", absl::StrCat(event.share)}});
      return;
    case Kind::kReleases:
      base::Log(base::LogLevel::kWarn, "the brake begins to release overdue leases",
                {{"group", std::move(group)}, {"held", absl::StrCat(event.held)}});
      return;
    case Kind::kEnds:
      base::Log(base::LogLevel::kInfo, "the brake holds nobody of the group any more",
                {{"group", std::move(group)}});
      return;
  }
}

}  // namespace

bool BrakeLog::MayWrite(base::SteadyTime now) {
  Tend(now);
  if (written_ == 0) began_ = now;
  return ++written_ <= kLines;
}

void BrakeLog::Add(base::SteadyTime now, const BrakeEvent& event, std::string_view zone) {
  if (MayWrite(now)) return Write(event, NameOf(event.group, zone));
  ++left_out_[static_cast<size_t>(event.kind)];
}

void BrakeLog::Tend(base::SteadyTime now) {
  if (written_ == 0 || now - began_ < kWindow) return;
  if (written_ > kLines) {
    base::Log(base::LogLevel::kWarn, "the brake, of more groups",
              {{"holds", absl::StrCat(left_out_[0])},
               {"releases", absl::StrCat(left_out_[1])},
               {"ended", absl::StrCat(left_out_[2])}});
  }
  written_ = 0;
  left_out_ = {};
}

}  // namespace muster::core
