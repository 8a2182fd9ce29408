// Reads a log of the database, a write-ahead log or a MANIFEST, and says whether its end was torn
// by a power cut, or something in it was damaged after it had been written.
//
//   LogScanner scanner;
//   while (ReadBlock(file, block)) scanner.AddBlock(block);
//   const LogScan scan = scanner.Finish();
//
// Why it can tell: a group is written and synced before the next one is begun. So what another
// record follows was synced, and only the last record of the newest log may be torn. A torn record
// ends too early or has sectors that were never written, which read as zeros; a flipped bit does
// neither. No record of ours holds kNeverWritten zeros in a row.
//
// Pure. REQUIRES: blocks of kLogBlock bytes, but for the last one.
// Cost: one checksum over the log; after the first bad record, one per possible record.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace muster::storage {

inline constexpr size_t kLogBlock = 32768;
// So many zeros of one sector are what was never written; less where they begin a record, whose
// checksum they would be.
inline constexpr size_t kNeverWritten = 64;

uint32_t Crc32c(std::string_view bytes);

struct LogScan {
  enum class Verdict : uint8_t {
    kWhole,
    kTorn,     // the last record never reached the disk: nobody was told that it did
    kUnclear,  // the last record can't be read, and may have been acknowledged or not
    kDamaged,  // a record can't be read that others follow: it was acknowledged
  };
  Verdict verdict = Verdict::kWhole;
  uint64_t whole_bytes = 0;  // up to the end of the last record that precedes any bad one
  uint64_t records = 0;      // in them
  std::string what;          // e.g. "wrong checksum"; empty when whole
};

class LogScanner {
 public:
  void AddBlock(std::string_view block);
  LogScan Finish();

 private:
  enum class Fragment : uint8_t { kEnd, kFull, kFirst, kMiddle, kLast, kCut, kBad };
  struct Parsed {
    Fragment fragment = Fragment::kEnd;
    size_t size = 0;  // with its header
    std::string_view what{};
  };

  static Parsed Parse(std::string_view rest, bool at_end_of_block);
  void Take(const Parsed& parsed, uint64_t end);
  void Fail(const Parsed& parsed, std::string_view rest);
  // Where a record begins that can be read; the size when there is none.
  static size_t FindFollower(std::string_view rest);
  void LookForZeros(std::string_view rest, uint64_t offset);

  LogScan scan_;
  uint64_t offset_ = 0;  // of the block
  bool in_record_ = false;
  bool bad_ = false;
  bool cut_ = false;       // the bad record goes beyond the end of the file
  bool follower_ = false;  // a whole record stands behind the bad one
  bool broken_ = false;    // and behind that, something that can't be read
  bool never_written_ = false;
  bool all_zero_ = true;  // from the bad fragment on
};

}  // namespace muster::storage
