#include "server/core/maintenance_set.h"

#include "base/log.h"
#include "base/text.h"
#include "muster/storage/v1/storage.pb.h"

namespace muster::core {

std::optional<MaintenanceMark> ReadMark(std::string_view key, std::string_view value) {
  const auto decoded = storage::DecodeValue(value);
  if (!decoded.ok()) return std::nullopt;
  const auto parse = [&](auto& record) {
    return record.ParseFromArray(decoded->payload.data(),
                                 static_cast<int>(decoded->payload.size()));
  };
  if (storage::DecodeNodeKey(key)) {
    storage::v1::NodeRecord record;
    if (!parse(record)) return std::nullopt;
    return MaintenanceMark{record.maintenance(), record.maintenance_reason(),
                           record.maintenance_since_ms()};
  }
  storage::v1::MaintenanceRecord record;
  if (!storage::DecodeNodeInstanceKey(key) || !parse(record)) return std::nullopt;
  return MaintenanceMark{true, record.reason(), record.since_ms()};
}

v1::State StateOf(bool in_maintenance, bool draining) {
  if (in_maintenance) return v1::MAINTENANCE;
  return draining ? v1::DRAINING : v1::ACTIVE;
}

bool MaintenanceSet::Has(std::string_view node_key) const {
  if (empty()) return false;
  base::MutexLock lock(mu_);
  return keys_.contains(base::Av(node_key));
}

std::vector<std::string> MaintenanceSet::Keys() const {
  base::MutexLock lock(mu_);
  return {keys_.begin(), keys_.end()};
}

bool MaintenanceSet::CoversNode(std::string_view ns, std::string_view node) const {
  return !empty() && !node.empty() && Has(storage::EncodeNodeKey(ns, node));
}

bool MaintenanceSet::Covers(std::string_view ns, std::string_view service, std::string_view node,
                            std::string_view id) const {
  if (empty()) return false;
  return CoversNode(ns, node) || Has(storage::EncodeNodeInstanceKey(ns, node, service, id));
}

bool MaintenanceSet::Covers(std::string_view instance_key) const {
  if (empty()) return false;
  const auto key = storage::DecodeInstanceKey(instance_key);
  return key && Covers(key->ns, key->service, key->node, key->id);
}

void MaintenanceSet::Put(std::string_view node_key, std::string_view value) {
  const auto mark = ReadMark(node_key, value);
  if (!mark) {
    base::Log(base::LogLevel::kError, "node record can't be read",
              {{"key", std::string(node_key)}});
    return;
  }
  if (!mark->on) return Erase(node_key);
  base::MutexLock lock(mu_);
  keys_.emplace(node_key);
  size_.store(keys_.size(), std::memory_order_release);
}

void MaintenanceSet::Erase(std::string_view node_key) {
  if (empty()) return;
  base::MutexLock lock(mu_);
  keys_.erase(base::Av(node_key));
  size_.store(keys_.size(), std::memory_order_release);
}

void MaintenanceSet::Judge(std::string_view instance_key, v1::State state) {
  if (empty() && state != v1::MAINTENANCE) return;
  if (Covers(instance_key) != (state == v1::MAINTENANCE)) AddStray(instance_key);
}

void MaintenanceSet::AddStray(std::string_view instance_key) {
  base::MutexLock lock(mu_);
  if (!strays_.emplace(instance_key).second) return;
  begun_.fetch_add(1);
  strays_left_.store(strays_.size(), std::memory_order_release);
}

std::vector<std::string> MaintenanceSet::TakeStrays(size_t max) {
  std::vector<std::string> out;
  if (!has_strays()) return out;
  base::MutexLock lock(mu_);
  while (out.size() < max && !strays_.empty()) {
    out.push_back(std::move(strays_.extract(strays_.begin()).value()));
  }
  strays_left_.store(strays_.size(), std::memory_order_release);
  return out;
}

}  // namespace muster::core
