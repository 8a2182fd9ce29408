#include "storage/engine.h"

#include <utility>

namespace muster::storage {

Op Put(Family family, std::string key, std::string value) {
  return Op{Op::Kind::kPut, family, std::move(key), std::move(value)};
}

Op Delete(Family family, std::string key) {
  return Op{Op::Kind::kDelete, family, std::move(key), {}};
}

Precondition Absent(Family family, std::string key) {
  return Precondition{family, std::move(key), 0};
}

Precondition Present(Family family, std::string key) {
  return Precondition{family, std::move(key), kAnySeq};
}

Precondition ModSeqIs(Family family, std::string key, uint64_t mod_seq) {
  return Precondition{family, std::move(key), mod_seq};
}

}  // namespace muster::storage
