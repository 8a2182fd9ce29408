// The snapshot file of the client library, as it stands and with its checksum made right.
#include <zlib.h>

#include <string>

#include "client/fallback/snapshot.h"
#include "targets.h"

namespace muster::fuzz {
namespace {

void Load(std::string bytes) {
  const auto snapshot = client::Snapshot::Parse(std::move(bytes));
  if (!snapshot.ok()) return;
  std::vector<client::SavedService> services;
  for (const std::string key : {"", "a", "web", "default\0web"}) {
    auto saved = snapshot->Find(key);
    if (!saved) continue;
    Require(!saved->endpoints->empty(), "what is found has endpoints");
    services.push_back(*std::move(saved));
  }
  const auto again =
      client::Snapshot::Parse(client::FormatSnapshot(services, &*snapshot, {INT64_MIN}));
  Require(again.ok(), "what is written is read");
  Require(again->size() == snapshot->size(), "all that was read is written again");
  for (const client::SavedService& service : services) {
    const auto found = again->Find(service.key);
    Require(found && found->confirmed == service.confirmed &&
                found->endpoints->size() == service.endpoints->size(),
            "what is found is found again");
  }
}

}  // namespace

void ClientSnapshot(std::string_view data) {
  Load(std::string(data));
  std::string bytes = "MUSTERC1";
  const auto crc = static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const unsigned char*>(data.data()), data.size()));
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<char>(crc >> (8 * i)));
  for (int i = 0; i < 8; ++i) {
    bytes.push_back(static_cast<char>(static_cast<uint64_t>(data.size()) >> (8 * i)));
  }
  Load(bytes.append(data));
}

}  // namespace muster::fuzz
