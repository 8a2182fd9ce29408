#include "storage/backup_file.h"

#include <xxhash.h>

#include <sstream>

#include "storage/schema.h"
#include "tests/fuzz/targets.h"

namespace muster::fuzz {
namespace {

void AppendFrame(std::string_view payload, std::string& file) {
  const uint64_t sum = XXH3_64bits(payload.data(), payload.size());
  for (int i = 0; i < 4; ++i) file.push_back(static_cast<char>(payload.size() >> (8 * i)));
  for (int i = 0; i < 8; ++i) file.push_back(static_cast<char>(sum >> (8 * i)));
  file.append(payload);
}

// Payloads out of the bytes, framed as a writer frames them.
std::string Framed(Bytes& bytes) {
  std::string file = "MUSTERBK\x01";
  while (!bytes.empty()) AppendFrame(bytes.LongText(), file);
  return file;
}

}  // namespace

void BackupFile(std::string_view data) {
  Bytes bytes(data);
  const bool framed = bytes.Byte() % 2 == 1;
  std::istringstream in(framed ? Framed(bytes) : std::string(bytes.Rest()));
  storage::BackupReader reader(in);
  if (!reader.ReadHeader().ok()) return;
  std::optional<std::pair<storage::Family, std::string>> last;
  while (true) {
    auto entry = reader.Next();
    if (!entry.ok()) return;
    if (!*entry) break;
    Require(storage::DecodeValue((*entry)->value).ok(), "entries have values that can be read");
    std::pair key{(*entry)->family, (*entry)->key};
    Require(!last || *last < key, "entries are in order");
    last = std::move(key);
  }
  Require(in.peek() == std::istringstream::traits_type::eof(), "a good file was read to its end");
  const auto after = reader.Next();
  Require(after.ok() && !*after, "after the end nothing comes");
}

}  // namespace muster::fuzz
