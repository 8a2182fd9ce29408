#include "storage/schema.h"

#include <bit>
#include <cstring>
#include <initializer_list>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"

namespace muster::storage {
namespace {

constexpr char kEnd = '\0';
constexpr size_t kWordBytes = 8;

std::string Join(std::initializer_list<std::string_view> parts) {
  size_t size = parts.size();
  for (std::string_view part : parts) size += part.size();
  std::string key;
  key.reserve(size);
  bool first = true;
  for (std::string_view part : parts) {
    if (!first) key.push_back(kEnd);
    key.append(part);
    first = false;
  }
  return key;
}

// Takes what stands before the next zero byte; nullopt when there is none.
std::optional<std::string_view> TakePart(std::string_view& rest) {
  const size_t end = rest.find(kEnd);
  if (end == std::string_view::npos) return std::nullopt;
  std::string_view part = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  return part;
}

// Stored words are little-endian.
uint64_t Stored(uint64_t word) {
  return std::endian::native == std::endian::little ? word : __builtin_bswap64(word);
}

void PutWord(char* at, uint64_t word) {
  word = Stored(word);
  std::memcpy(at, &word, kWordBytes);
}

uint64_t WordAt(std::string_view value, size_t offset) {
  uint64_t word = 0;
  std::memcpy(&word, value.data() + offset, kWordBytes);
  return Stored(word);
}

absl::Status CheckHeader(std::string_view value, size_t header_bytes) {
  if (!value.empty() && static_cast<uint8_t>(value[0]) > kFormat) {
    return base::MakeError(
        absl::StatusCode::kFailedPrecondition, base::Reason::kFormatNewer,
        absl::StrCat("format ", static_cast<uint8_t>(value[0]), " is newer than ", kFormat,
                     ", the newest that this version reads"));
  }
  if (value.size() < header_bytes || value[0] == 0) {
    return base::MakeError(
        absl::StatusCode::kDataLoss, base::Reason::kStorageDamaged,
        absl::StrCat("a stored value of ", value.size(), " bytes has no whole header"));
  }
  return absl::OkStatus();
}

}  // namespace

std::string EncodeInstanceKey(const InstanceKey& key) {
  return EncodeInstanceKey(key.ns, key.service, key.node, key.id);
}

std::string EncodeInstanceKey(std::string_view ns, std::string_view service, std::string_view node,
                              std::string_view id) {
  return Join({ns, service, node, id});
}

std::optional<InstanceKeyView> DecodeInstanceKey(std::string_view key) {
  const auto ns = TakePart(key);
  if (!ns) return std::nullopt;
  const auto service = TakePart(key);
  if (!service) return std::nullopt;
  const auto node = TakePart(key);
  if (!node || key.find(kEnd) != std::string_view::npos) return std::nullopt;
  return InstanceKeyView{*ns, *service, *node, key};
}

std::string InstancePrefix(std::string_view ns, std::string_view service) {
  return Join({ns, service, ""});
}

std::string EncodeServiceKey(std::string_view ns, std::string_view service) {
  return Join({ns, service});
}

std::string_view ServiceKeyOf(std::string_view instance_key) {
  const size_t ns_end = instance_key.find(kEnd);
  if (ns_end == std::string_view::npos) return {};
  const size_t service_end = instance_key.find(kEnd, ns_end + 1);
  return service_end == std::string_view::npos ? std::string_view()
                                               : instance_key.substr(0, service_end);
}

std::optional<ServiceKeyView> DecodeServiceKey(std::string_view key) {
  const auto ns = TakePart(key);
  if (!ns || key.find(kEnd) != std::string_view::npos) return std::nullopt;
  return ServiceKeyView{*ns, key};
}

std::string EncodeNodeKey(std::string_view ns, std::string_view node) { return Join({ns, node}); }

std::optional<NodeKeyView> DecodeNodeKey(std::string_view key) {
  const auto ns = TakePart(key);
  if (!ns || key.find(kEnd) != std::string_view::npos) return std::nullopt;
  return NodeKeyView{*ns, key};
}

std::string EncodeNodeInstanceKey(std::string_view ns, std::string_view node,
                                  std::string_view service, std::string_view id) {
  return Join({ns, node, service, id});
}

std::optional<InstanceKeyView> DecodeNodeInstanceKey(std::string_view key) {
  const auto parts = DecodeInstanceKey(key);
  if (!parts) return std::nullopt;
  return InstanceKeyView{
      .ns = parts->ns, .service = parts->node, .node = parts->service, .id = parts->id};
}

std::string EncodeCheckKey(std::string_view instance_key, std::string_view check_id) {
  return Join({instance_key, check_id});
}

std::string CheckPrefix(std::string_view instance_key) { return Join({instance_key, ""}); }

std::optional<CheckKeyView> DecodeCheckKey(std::string_view key) {
  const size_t end = key.rfind(kEnd);
  if (end == std::string_view::npos || !DecodeInstanceKey(key.substr(0, end))) return std::nullopt;
  return CheckKeyView{key.substr(0, end), key.substr(end + 1)};
}

std::string EncodeTransitionKey(std::string_view check_key, uint64_t seq) {
  std::string key = Join({check_key, ""});
  for (int shift = 56; shift >= 0; shift -= 8) key.push_back(static_cast<char>(seq >> shift));
  return key;
}

std::string EncodeValue(std::string_view payload) {
  std::string value;
  value.reserve(kHeaderBytes + payload.size());
  value.append(kHeaderBytes, '\0');
  value[0] = static_cast<char>(kFormat);
  value.append(payload);
  return value;
}

std::string EncodeInstanceValue(const InstanceWords& words, std::string_view payload, size_t room) {
  std::string value;
  value.reserve(kInstanceHeaderBytes + payload.size() + room);
  value.append(kInstanceHeaderBytes, '\0');
  value[0] = static_cast<char>(kFormat);
  size_t offset = kHeaderBytes;
  for (uint64_t word :
       {words.create_seq, words.definition_seq, words.visible_seq, words.incarnation}) {
    PutWord(value.data() + offset, word);
    offset += kWordBytes;
  }
  value.append(payload);
  return value;
}

void StampModSeq(std::string& value, uint64_t seq) { PutWord(value.data() + 1, seq); }

uint64_t ModSeqOf(std::string_view value) {
  return value.size() < kHeaderBytes ? 0 : WordAt(value, 1);
}

absl::StatusOr<ValueView> DecodeValue(std::string_view value) {
  if (absl::Status status = CheckHeader(value, kHeaderBytes); !status.ok()) return status;
  return ValueView{WordAt(value, 1), value.substr(kHeaderBytes)};
}

absl::StatusOr<InstanceValueView> DecodeInstanceValue(std::string_view value) {
  if (absl::Status status = CheckHeader(value, kInstanceHeaderBytes); !status.ok()) return status;
  const uint64_t mod_seq = WordAt(value, 1);
  const auto word = [&](size_t index) {
    const uint64_t stored = WordAt(value, kHeaderBytes + index * kWordBytes);
    return stored == 0 ? mod_seq : stored;
  };
  return InstanceValueView{mod_seq, InstanceWords{word(0), word(1), word(2), word(3)},
                           value.substr(kInstanceHeaderBytes)};
}

}  // namespace muster::storage
