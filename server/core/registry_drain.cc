#include <utility>

#include "server/core/registry.h"
#include "server/core/registry_write.h"

namespace muster::core {

void Registry::Drain(const v1::DrainRequest& request, DrainDone done) {
  auto key = NormalKey(request.key(), "key");
  if (!key.ok()) return done(key.status());
  auto write = std::make_shared<Write>();
  write->kind = Write::Kind::kDrain;
  write->SetNames(*std::move(key));
  write->write_class = storage::WriteClass::kInternal;
  write->incarnation = request.incarnation();
  // Not by a pointer that would make it own itself: the write outlives its answer.
  write->done = [this, &of = *write, done = std::move(done)](auto outcome) {
    if (!outcome.ok()) return done(outcome.status());
    Drained drained = std::move(of.drained);
    if (drained.seq == 0) drained.seq = outcome->seq;
    drained.revision.epoch = catalog_.revision().epoch;
    drained.revision.seq = outcome->changed ? outcome->seq : drained.seq;
    done(std::move(drained));
  };
  Begin(std::move(write));
}

}  // namespace muster::core
