#include "server/core/lease.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/huge_pages.h"

namespace muster::core {
namespace {

constexpr int64_t kLongestTtlUs = (int64_t{1} << 46) - 1;

uint64_t TtlOf(const LeaseSpec& spec) {
  return static_cast<uint64_t>(
      std::clamp<int64_t>(absl::ToInt64Microseconds(spec.ttl), 0, kLongestTtlUs));
}

}  // namespace

Lease::Lease(const LeaseSpec& spec)
    : incarnation_(spec.incarnation),
      ttl_us_(TtlOf(spec)),
      key_size_(static_cast<uint16_t>(spec.key.size())),
      fenced_(spec.fenced),
      never_reported_(spec.never_reported),
      zone_(spec.zone),
      mod_seq_(spec.mod_seq),
      life_(spec.life),
      digest_(spec.digest),
      superseded_(spec.superseded.empty()
                      ? nullptr
                      : std::make_unique<const std::vector<Superseded>>(spec.superseded)) {
  std::memcpy(static_cast<void*>(this + 1), spec.key.data(), spec.key.size());
}

LeasePtr Lease::Make(const LeaseSpec& spec) {
  void* block = base::AllocateKept(sizeof(Lease) + spec.key.size());
  return LeasePtr(new (block) Lease(spec));
}

void LeasePtr::Drop() {
  if (lease_ == nullptr || lease_->owners_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  lease_->~Lease();
  base::FreeKept(const_cast<Lease*>(lease_));
}

LeaseSpec Lease::spec() const {
  LeaseSpec out;
  out.key = std::string(key());
  out.mod_seq = mod_seq_;
  out.incarnation = incarnation_;
  out.fenced = fenced_;
  out.life = life_;
  out.digest = digest_;
  out.ttl = ttl();
  if (superseded_ != nullptr) out.superseded = *superseded_;
  out.never_reported = never_reported_;
  out.zone = zone_;
  return out;
}

}  // namespace muster::core
