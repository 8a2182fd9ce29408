#include "server/core/drain.h"

#include <utility>

#include "server/core/record_view.h"

namespace muster::core {

using storage::Family;

DrainChange DrainOf(std::string_view key, const StoredInstance& present) {
  DrainChange out;
  out.change.incarnation = present.words.incarnation;
  out.visible_seq = present.words.visible_seq;
  out.endpoint = present.record.endpoint();
  if (present.record.draining()) return out;

  storage::v1::InstanceRecord record = present.record;
  storage::InstanceWords words = present.words;
  record.set_draining(true);
  if (record.state() != v1::MAINTENANCE) {
    record.set_state(v1::DRAINING);
    words.visible_seq = out.visible_seq = 0;
  }
  out.change.changed = true;
  storage::Unit& unit = out.change.unit;
  unit.preconditions.push_back(
      storage::ModSeqIs(Family::kInstances, std::string(key), present.mod_seq));
  unit.ops.push_back(storage::Put(Family::kInstances, std::string(key),
                                  storage::EncodeInstanceValue(words, SerializeRecord(record))));
  return out;
}

}  // namespace muster::core
