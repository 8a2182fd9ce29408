#include "storage/rocksdb/log_scan.h"

#include <rocksdb/file_checksum.h>

#include <algorithm>
#include <memory>

namespace muster::storage {
namespace {

// checksum (4) | length (2) | type (1), little-endian
constexpr size_t kHeader = 7;
constexpr size_t kSector = 512;

uint32_t ByteAt(std::string_view bytes, size_t at) { return static_cast<unsigned char>(bytes[at]); }
uint32_t Little32(std::string_view bytes) {
  return ByteAt(bytes, 0) | ByteAt(bytes, 1) << 8 | ByteAt(bytes, 2) << 16 | ByteAt(bytes, 3) << 24;
}
uint32_t Big32(std::string_view bytes) {
  return ByteAt(bytes, 3) | ByteAt(bytes, 2) << 8 | ByteAt(bytes, 1) << 16 | ByteAt(bytes, 0) << 24;
}
size_t LengthOf(std::string_view header) { return ByteAt(header, 4) | ByteAt(header, 5) << 8; }

// As the database stores it: rotated and shifted.
uint32_t ChecksumOf(std::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

bool ChecksumHolds(std::string_view fragment) {
  return Little32(fragment) == ChecksumOf(fragment.substr(6));
}

bool AllZero(std::string_view bytes) {
  return bytes.find_first_not_of('\0') == std::string_view::npos;
}

}  // namespace

uint32_t Crc32c(std::string_view bytes) {
  static const auto& factory = *new std::shared_ptr(rocksdb::GetFileChecksumGenCrc32cFactory());
  const auto generator = factory->CreateFileChecksumGenerator({});
  generator->Update(bytes.data(), bytes.size());
  generator->Finalize();
  return Big32(generator->GetChecksum());
}

LogScanner::Parsed LogScanner::Parse(std::string_view rest, bool at_end_of_block) {
  if (rest.size() < kHeader) {
    // The writer fills up what is too small for a header.
    if (rest.empty() || at_end_of_block) return {Fragment::kEnd};
    return {Fragment::kCut, rest.size(), "it ends inside a header"};
  }
  const size_t size = kHeader + LengthOf(rest);
  const auto type = static_cast<unsigned char>(rest[6]);
  if (size > rest.size()) {
    if (at_end_of_block) return {Fragment::kBad, rest.size(), "impossible length"};
    // A record that is all there, but for what its length says, wasn't cut.
    if (ChecksumHolds(rest)) return {Fragment::kBad, rest.size(), "wrong length"};
    return {Fragment::kCut, rest.size(), "it ends inside a record"};
  }
  if (type == 0 || type > 4) return {Fragment::kBad, rest.size(), "unknown type"};
  if (!ChecksumHolds(rest.substr(0, size))) {
    return {Fragment::kBad, rest.size(), "wrong checksum"};
  }
  return {static_cast<Fragment>(type), size};
}

void LogScanner::AddBlock(std::string_view block) {
  const bool full = block.size() == kLogBlock;
  std::string_view rest = block;
  while (!broken_) {
    const Parsed parsed = Parse(rest, full);
    if (parsed.fragment == Fragment::kEnd) break;
    if (parsed.fragment == Fragment::kCut || parsed.fragment == Fragment::kBad) {
      broken_ = follower_;
      if (broken_) break;
      Fail(parsed, rest);
      LookForZeros(rest, offset_ + (block.size() - rest.size()));
      rest.remove_prefix(FindFollower(rest));
      continue;
    }
    rest.remove_prefix(parsed.size);
    Take(parsed, offset_ + (block.size() - rest.size()));
  }
  offset_ += block.size();
}

// A fragment that can be read.
void LogScanner::Take(const Parsed& parsed, uint64_t end) {
  const bool begins = parsed.fragment == Fragment::kFull || parsed.fragment == Fragment::kFirst;
  const bool goes_on = parsed.fragment == Fragment::kFirst || parsed.fragment == Fragment::kMiddle;
  if (bad_) {
    all_zero_ = false;
    if (follower_ && begins == in_record_) broken_ = true;
    // One that begins isn't part of the bad record, but was written after it.
    follower_ |= begins;
    in_record_ = follower_ && goes_on;
    return;
  }
  if (begins == in_record_) {
    bad_ = true;
    all_zero_ = false;
    follower_ = begins;
    in_record_ = begins && goes_on;
    scan_.what = begins ? "a record without an end" : "a record without a beginning";
    return;
  }
  in_record_ = goes_on;
  if (in_record_) return;
  scan_.whole_bytes = end;
  ++scan_.records;
}

void LogScanner::Fail(const Parsed& parsed, std::string_view rest) {
  if (!bad_) scan_.what = std::string(parsed.what);
  bad_ = true;
  in_record_ = false;
  cut_ |= parsed.fragment == Fragment::kCut;
  all_zero_ &= AllZero(rest);
}

// Lengths can't be trusted any more: a record may begin anywhere behind the first byte.
size_t LogScanner::FindFollower(std::string_view rest) {
  for (size_t at = 1; at + kHeader <= rest.size(); ++at) {
    const auto type = static_cast<unsigned char>(rest[at + 6]);
    if (type != 1 && type != 2) continue;
    const size_t size = kHeader + LengthOf(rest.substr(at));
    if (at + size <= rest.size() && ChecksumHolds(rest.substr(at, size))) return at;
  }
  return rest.size();
}

void LogScanner::LookForZeros(std::string_view rest, uint64_t offset) {
  // The first part begins with a header, whose checksum one flipped byte doesn't make zero.
  size_t enough = sizeof(uint32_t);
  while (!rest.empty() && !never_written_) {
    const size_t size = std::min<size_t>(kSector - offset % kSector, rest.size());
    never_written_ = size >= enough && AllZero(rest.substr(0, size));
    enough = kNeverWritten;
    rest.remove_prefix(size);
    offset += size;
  }
}

LogScan LogScanner::Finish() {
  using Verdict = LogScan::Verdict;
  if (!bad_ && in_record_) {
    bad_ = cut_ = true;
    all_zero_ = false;
    scan_.what = "it ends inside a record";
  }
  if (!bad_) return scan_;
  const bool torn = cut_ || never_written_ || all_zero_;
  if (follower_) {
    // What looks like a record may stand in a value of the bad one; a row of them up to the end of
    // the log doesn't.
    const bool row = !broken_ && !in_record_;
    scan_.verdict = never_written_ && !row ? Verdict::kUnclear : Verdict::kDamaged;
  } else {
    scan_.verdict = torn ? Verdict::kTorn : Verdict::kUnclear;
  }
  return scan_;
}

}  // namespace muster::storage
