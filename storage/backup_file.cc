#include "storage/backup_file.h"

#include <xxhash.h>

#include "absl/strings/str_cat.h"
#include "base/errors.h"

namespace muster::storage {
namespace {

constexpr std::string_view kMagic = "MUSTERBK";
constexpr uint8_t kBackupFormat = 1;
constexpr size_t kFrameHeaderBytes = 4 + 8;
constexpr size_t kFrameTarget = 256 << 10;
// Above any unit's bytes; keeps a damaged length from asking for 4 GiB.
constexpr size_t kFrameMax = 16 << 20;

void AppendLittleEndian(std::string& out, uint64_t number, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(number >> (8 * i)));
}

uint64_t LittleEndianAt(std::string_view in, size_t offset, int bytes) {
  uint64_t number = 0;
  for (int i = 0; i < bytes; ++i) {
    number |= uint64_t{static_cast<uint8_t>(in[offset + i])} << (8 * i);
  }
  return number;
}

uint64_t Checksum(std::string_view payload) { return XXH3_64bits(payload.data(), payload.size()); }

std::string Frame(const google::protobuf::MessageLite& message) {
  const std::string payload = message.SerializeAsString();
  std::string frame;
  frame.reserve(kFrameHeaderBytes + payload.size());
  AppendLittleEndian(frame, payload.size(), 4);
  AppendLittleEndian(frame, Checksum(payload), 8);
  frame.append(payload);
  return frame;
}

// Collects entries until they fill a frame.
class FrameWriter {
 public:
  explicit FrameWriter(absl::FunctionRef<absl::Status(std::string_view)> chunk) : chunk_(chunk) {}

  absl::Status Add(Family family, std::string_view key, std::string_view value) {
    v1::BackupFrame::Entry* entry = frame_.add_entries();
    entry->set_family(static_cast<uint32_t>(family));
    entry->set_key(key.data(), key.size());
    entry->set_value(value.data(), value.size());
    bytes_ += key.size() + value.size();
    ++total_;
    return bytes_ >= kFrameTarget ? Flush() : absl::OkStatus();
  }

  absl::Status End() {
    frame_.set_end(true);
    frame_.set_total_entries(total_);
    return Flush();
  }

 private:
  absl::Status Flush() {
    const std::string frame = Frame(frame_);
    frame_.Clear();
    bytes_ = 0;
    return chunk_(frame);
  }

  const absl::FunctionRef<absl::Status(std::string_view)> chunk_;
  v1::BackupFrame frame_;
  size_t bytes_ = 0;
  uint64_t total_ = 0;
};

}  // namespace

absl::Status WriteBackup(const Snapshot& snapshot, const base::Clock& clock,
                         std::string_view version,
                         absl::FunctionRef<absl::Status(std::string_view)> chunk) {
  v1::BackupHeader header;
  header.set_epoch(snapshot.revision().epoch);
  header.set_seq(snapshot.revision().seq);
  header.set_taken_at_ms(clock.System().us / 1000);
  header.set_version(std::string(version));
  std::string start(kMagic);
  start.push_back(static_cast<char>(kBackupFormat));
  if (absl::Status status = chunk(start + Frame(header)); !status.ok()) return status;

  FrameWriter frames(chunk);
  for (int i = 0; i < kFamilyCount; ++i) {
    const Family family = static_cast<Family>(i);
    absl::Status written;
    const absl::Status scanned =
        snapshot.Scan(family, "", [&](std::string_view key, std::string_view value) {
          written = frames.Add(family, key, value);
          return written.ok();
        });
    if (!scanned.ok()) return scanned;
    if (!written.ok()) return written;
  }
  return frames.End();
}

absl::StatusOr<v1::BackupHeader> BackupReader::ReadHeader() {
  auto start = ReadBytes(kMagic.size() + 1);
  if (!start.ok()) return start.status();
  if (std::string_view(*start).substr(0, kMagic.size()) != kMagic) {
    return Damaged("not a backup of muster");
  }
  const uint8_t format = static_cast<uint8_t>(start->back());
  if (format > kBackupFormat) {
    return base::MakeError(absl::StatusCode::kFailedPrecondition, base::Reason::kFormatNewer,
                           absl::StrCat("backup format ", format, " is newer than ", kBackupFormat,
                                        ", the newest that this version reads"));
  }
  if (format != kBackupFormat) return Damaged("unknown backup format");
  auto payload = ReadPayload();
  if (!payload.ok()) return payload.status();
  v1::BackupHeader header;
  if (!header.ParseFromString(*payload) || header.epoch() == 0) return Damaged("no backup header");
  return header;
}

absl::StatusOr<std::optional<BackupEntry>> BackupReader::Next() {
  while (next_in_frame_ == frame_.entries_size()) {
    if (frame_.end()) return std::nullopt;
    if (absl::Status status = ReadFrame(); !status.ok()) return status;
  }
  v1::BackupFrame::Entry& entry = *frame_.mutable_entries(next_in_frame_++);
  if (absl::Status status = CheckEntry(entry); !status.ok()) return status;
  ++entries_;
  last_.emplace(entry.family(), entry.key());
  return BackupEntry{static_cast<Family>(entry.family()), std::move(*entry.mutable_key()),
                     std::move(*entry.mutable_value())};
}

absl::Status BackupReader::CheckEntry(const v1::BackupFrame::Entry& entry) {
  if (entry.family() >= static_cast<uint32_t>(kFamilyCount)) {
    return base::MakeError(absl::StatusCode::kFailedPrecondition, base::Reason::kFormatNewer,
                           absl::StrCat("the backup has a family ", entry.family(),
                                        " that this version doesn't know"));
  }
  if (last_ && std::pair(entry.family(), entry.key()) <= *last_) {
    return Damaged("entries out of order");
  }
  if (absl::Status status = DecodeValue(entry.value()).status(); !status.ok()) {
    return absl::IsDataLoss(status) ? Damaged(std::string(status.message())) : status;
  }
  return absl::OkStatus();
}

absl::Status BackupReader::ReadFrame() {
  auto payload = ReadPayload();
  if (!payload.ok()) return payload.status();
  next_in_frame_ = 0;
  if (!frame_.ParseFromString(*payload)) return Damaged("a frame that can't be read");
  return frame_.end() ? CheckEnd() : absl::OkStatus();
}

absl::Status BackupReader::CheckEnd() {
  if (frame_.total_entries() != entries_ + frame_.entries_size()) {
    return Damaged(absl::StrCat("it holds ", entries_ + frame_.entries_size(),
                                " entries and should hold ", frame_.total_entries()));
  }
  frame_offset_ = offset_;
  if (in_.peek() != std::istream::traits_type::eof()) return Damaged("bytes after its end");
  return absl::OkStatus();
}

absl::StatusOr<std::string> BackupReader::ReadPayload() {
  frame_offset_ = offset_;
  auto header = ReadBytes(kFrameHeaderBytes);
  if (!header.ok()) return header.status();
  const uint64_t size = LittleEndianAt(*header, 0, 4);
  if (size > kFrameMax) return Damaged("a frame of impossible length");
  auto payload = ReadBytes(size);
  if (!payload.ok()) return payload.status();
  if (Checksum(*payload) != LittleEndianAt(*header, 4, 8)) {
    return Damaged("a frame's checksum doesn't match");
  }
  return payload;
}

absl::StatusOr<std::string> BackupReader::ReadBytes(size_t count) {
  std::string bytes(count, '\0');
  in_.read(bytes.data(), static_cast<std::streamsize>(count));
  const auto got = static_cast<size_t>(in_.gcount());
  if (got < count) {
    return base::MakeError(
        absl::StatusCode::kDataLoss, base::Reason::kStorageDamaged,
        absl::StrCat("the backup is cut: it ends at offset ", offset_ + got, " and should go on"));
  }
  offset_ += count;
  return bytes;
}

absl::Status BackupReader::Damaged(std::string_view what) const {
  return base::MakeError(
      absl::StatusCode::kDataLoss, base::Reason::kStorageDamaged,
      absl::StrCat("the backup is damaged at offset ", frame_offset_, ": ", std::string(what)));
}

}  // namespace muster::storage
