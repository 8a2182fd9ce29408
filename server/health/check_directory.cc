#include "server/health/check_directory.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <utility>

#include "base/text.h"
#include "muster/storage/v1/storage.pb.h"
#include "server/core/instance_change.h"

namespace muster::health {
namespace {

using google::protobuf::internal::WireFormatLite;
using storage::Family;

// Of an encoded InstanceRecord; nothing is parsed.
bool HasChecks(std::string_view record) {
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(record.data()),
                                            static_cast<int>(record.size()));
  while (const uint32_t tag = in.ReadTag()) {
    const int field = WireFormatLite::GetTagFieldNumber(tag);
    if (field == storage::v1::InstanceRecord::kChecksFieldNumber) return true;
    if (!WireFormatLite::SkipField(&in, tag)) return false;
  }
  return false;
}

}  // namespace

bool CheckDirectory::Note(std::string_view key, std::string_view value, bool fresh) {
  const auto decoded = storage::DecodeInstanceValue(value);
  const bool has_checks = decoded.ok() && HasChecks(decoded->payload);
  const auto it = known_.find(base::Av(key));
  if (!has_checks) {
    if (it == known_.end()) return false;
    known_.erase(it);
    value = "";
  } else if (it == known_.end()) {
    known_.emplace(std::string(key), decoded->words.definition_seq);
  } else if (it->second != decoded->words.definition_seq) {
    it->second = decoded->words.definition_seq;
  } else {
    return false;
  }
  base::MutexLock lock(mu_);
  changes_.push_back({std::string(key), std::string(value), fresh});
  return true;
}

void CheckDirectory::OnReplay(Family family, std::string_view key, std::string_view value) {
  if (family == Family::kInstances) Note(key, value, /*fresh=*/false);
}

void CheckDirectory::OnCommits(absl::Span<const storage::Commit> commits) {
  bool any = false;
  for (const storage::Commit& commit : commits) {
    for (const storage::Op& op : commit.ops) {
      if (op.family != Family::kInstances) continue;
      const bool put = op.kind == storage::Op::Kind::kPut;
      any |= Note(op.key, put ? std::string_view(op.value) : std::string_view(), /*fresh=*/true);
    }
  }
  if (any) wake_();
}

std::vector<DirectoryChange> CheckDirectory::Take() {
  base::MutexLock lock(mu_);
  return std::exchange(changes_, {});
}

std::optional<InstanceChecks> ReadChecks(const DirectoryChange& change) {
  if (change.value.empty()) return std::nullopt;
  const auto stored = core::DecodeStored(change.value);
  v1::Endpoint endpoint;
  if (!stored.ok() || !endpoint.ParseFromString(stored->record.endpoint())) return std::nullopt;
  InstanceChecks out;
  out.instance = {.key = change.key,
                  .incarnation = stored->words.incarnation,
                  .definition_seq = stored->words.definition_seq,
                  .address = endpoint.address(),
                  .port = endpoint.port(),
                  .zone = endpoint.locality().zone()};
  for (const v1::Check& check : stored->record.checks()) {
    out.checks.emplace_back().check = check;
  }
  return out;
}

}  // namespace muster::health
