// How many table files the store keeps open at most, unless told otherwise. Above that it closes
// and opens them again, which is slower. Beside them it has a dozen others: log, lock, manifest.
#pragma once

namespace muster::storage {

inline constexpr int kRocksDbOpenFiles = 512;

}  // namespace muster::storage
