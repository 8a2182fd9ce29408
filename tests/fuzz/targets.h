// The fuzz targets: each takes any bytes and checks what has to be true of them. A property that
// does not hold ends the process, so that libFuzzer keeps the input and a replay fails.
//
// Thread safety: one thread. Cost: a run takes a few milliseconds at most.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>

namespace muster::fuzz {

// Keys of the store: decoding, and order by bytes = order by tuple.
void StorageKeys(std::string_view data);
// Values of the store: headers, words, records.
void StorageValues(std::string_view data);
// The backup file, as it stands and with its frames' checksums made right.
void BackupFile(std::string_view data);
// A RegisterRequest through validation, the registry and a view.
void RegisterRequest(std::string_view data);
// A Selector, and endpoints that it is asked about.
void Selector(std::string_view data);
void PageToken(std::string_view data);
// Requests of one Watch stream, with changes of the services between them.
void WatchRequests(std::string_view data);
// The client library's snapshot file.
void ClientSnapshot(std::string_view data);
// What an application writes to name a service.
void ClientTarget(std::string_view data);
// musterd's configuration file.
void ConfigYaml(std::string_view data);
void TokenFile(std::string_view data);
// Durations, addresses, names, text for terminals.
void Texts(std::string_view data);

struct Target {
  const char* name;  // of the folder in corpus/, and of the program fuzz_NAME
  void (*run)(std::string_view data);
};
inline constexpr Target kTargets[] = {
    {"backup_file", BackupFile},
    {"client_snapshot", ClientSnapshot},
    {"client_target", ClientTarget},
    {"config_yaml", ConfigYaml},
    {"page_token", PageToken},
    {"register_request", RegisterRequest},
    {"selector", Selector},
    {"storage_keys", StorageKeys},
    {"storage_values", StorageValues},
    {"texts", Texts},
    {"token_file", TokenFile},
    {"watch_requests", WatchRequests},
};

inline void Require(bool holds, std::string_view property) {
  if (holds) return;
  std::cerr << "fuzz: does not hold: " << std::string(property) << std::endl;
  std::abort();
}

// Takes values off the front of the bytes. After the end: zeroes and empty texts.
class Bytes {
 public:
  explicit Bytes(std::string_view data) : data_(data) {}

  bool empty() const { return data_.empty(); }
  uint8_t Byte() {
    if (data_.empty()) return 0;
    const auto out = static_cast<uint8_t>(data_.front());
    data_.remove_prefix(1);
    return out;
  }
  uint64_t Number() {
    uint64_t out = 0;
    for (int i = 0; i < 8; ++i) out = out << 8 | Byte();
    return out;
  }
  // As long as the next byte says.
  std::string_view Text() {
    const size_t size = Byte();
    const std::string_view out = data_.substr(0, size);
    data_.remove_prefix(out.size());
    return out;
  }
  // As long as the next two bytes say.
  std::string_view LongText() {
    const size_t size = static_cast<size_t>(Byte()) << 8 | Byte();
    const std::string_view out = data_.substr(0, size);
    data_.remove_prefix(out.size());
    return out;
  }
  std::string_view Rest() { return data_; }

 private:
  std::string_view data_;
};

}  // namespace muster::fuzz
