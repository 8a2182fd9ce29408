// Lease: what an instance's registration is kept alive by. Constant between two commits, but for
// one atomic word, which belongs to LeaseTable.
//
// Thread safety: a Lease is constant and its word atomic; a LeasePtr is a value like
// std::shared_ptr, which it stands for: one block of memory and 8 bytes a pointer.
// Cost: 80 bytes and the key. Units: microseconds; a TTL of more than two years is cut to that.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/core/definition.h"

namespace muster::core {

using LifeId = std::array<uint8_t, 16>;

// A life that another one replaced.
struct Superseded {
  LifeId life{};
  uint64_t incarnation = 0;
};

// What is constant between two commits of an instance.
struct LeaseSpec {
  std::string key;  // storage::EncodeInstanceKey
  uint64_t mod_seq = 0;
  uint64_t incarnation = 0;  // also the lease handle
  bool fenced = false;       // has a life
  LifeId life{};
  Digest digest;                              // of the definition
  absl::Duration ttl = absl::ZeroDuration();  // zero = permanent
  std::vector<Superseded> superseded;
  bool never_reported = false;  // as in InstanceRecord
  uint32_t zone = 0;            // ZoneTag of the endpoint's
};

class LeasePtr;

// A LeaseSpec as it is kept, and its atomic word: one block of memory that counts its owners.
class Lease {
 public:
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  std::string_view key() const { return {reinterpret_cast<const char*>(this + 1), key_size_}; }
  uint64_t mod_seq() const { return mod_seq_; }
  uint64_t incarnation() const { return incarnation_; }
  const Digest& digest() const { return digest_; }
  absl::Duration ttl() const { return absl::Microseconds(ttl_us()); }
  bool permanent() const { return ttl_us_ == 0; }
  bool never_reported() const { return never_reported_; }
  uint32_t zone() const { return zone_; }
  // The whole, copied.
  LeaseSpec spec() const;

 private:
  friend class LeasePtr;
  friend class LeaseTable;

  // REQUIRES: the key has at most 65,535 bytes.
  static LeasePtr Make(const LeaseSpec& spec);
  explicit Lease(const LeaseSpec& spec);
  ~Lease() = default;
  int64_t ttl_us() const { return static_cast<int64_t>(ttl_us_); }
  template <typename F>
  void ForEachHandle(F f) const;

  // First what a renewal reads. Deadline in us of lease time << 1 | expiring. A deadline of 0:
  // permanent, or not started yet.
  mutable std::atomic<uint64_t> word_{0};
  const uint64_t incarnation_;
  const uint64_t ttl_us_ : 46;
  const uint64_t key_size_ : 16;  // the key's bytes stand behind the object
  const uint64_t fenced_ : 1;
  const uint64_t never_reported_ : 1;
  mutable std::atomic<uint32_t> owners_{0};
  const uint32_t zone_;
  const uint64_t mod_seq_;
  const LifeId life_;
  const Digest digest_;
  const std::unique_ptr<const std::vector<Superseded>> superseded_;  // null: none
};

static_assert(sizeof(Lease) == 80);

// Owns a Lease together with others. Null when default-made.
class LeasePtr {
 public:
  LeasePtr() = default;
  LeasePtr(std::nullptr_t) {}  // as of the standard's pointers
  explicit LeasePtr(const Lease* lease) : lease_(lease) {
    if (lease_ != nullptr) lease_->owners_.fetch_add(1, std::memory_order_relaxed);
  }
  LeasePtr(const LeasePtr& other) : LeasePtr(other.lease_) {}
  LeasePtr(LeasePtr&& other) noexcept : lease_(std::exchange(other.lease_, nullptr)) {}
  LeasePtr& operator=(LeasePtr other) noexcept {
    std::swap(lease_, other.lease_);
    return *this;
  }
  ~LeasePtr() { Drop(); }

  const Lease* get() const { return lease_; }
  const Lease* operator->() const { return lease_; }
  const Lease& operator*() const { return *lease_; }
  friend bool operator==(const LeasePtr&, const LeasePtr&) = default;
  friend bool operator==(const LeasePtr& p, std::nullptr_t) { return p.lease_ == nullptr; }

 private:
  void Drop();
  const Lease* lease_ = nullptr;
};

template <typename F>
void Lease::ForEachHandle(F f) const {
  if (incarnation_ != 0) f(incarnation_);
  if (superseded_ == nullptr) return;
  for (const Superseded& old : *superseded_) {
    if (old.incarnation != 0) f(old.incarnation);
  }
}

}  // namespace muster::core
