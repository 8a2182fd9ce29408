#include <algorithm>

#include "storage/schema.h"
#include "tests/fuzz/targets.h"

namespace muster::fuzz {
namespace {

void DecodeAny(std::string_view data) {
  if (const auto key = storage::DecodeInstanceKey(data)) {
    Require(storage::EncodeInstanceKey(key->ns, key->service, key->node, key->id) == data,
            "an instance key that was decoded is encoded alike");
  }
  if (const auto key = storage::DecodeServiceKey(data)) {
    Require(storage::EncodeServiceKey(key->ns, key->service) == data,
            "a service key that was decoded is encoded alike");
  }
  if (const auto key = storage::DecodeNodeKey(data)) {
    Require(storage::EncodeNodeKey(key->ns, key->node) == data,
            "a node key that was decoded is encoded alike");
  }
  if (const auto key = storage::DecodeNodeInstanceKey(data)) {
    Require(storage::EncodeNodeInstanceKey(key->ns, key->node, key->service, key->id) == data,
            "an instance's key of a node that was decoded is encoded alike");
  }
  if (const auto key = storage::DecodeCheckKey(data)) {
    Require(storage::EncodeCheckKey(key->instance_key, key->check_id) == data,
            "a check key that was decoded is encoded alike");
    Require(data.starts_with(storage::CheckPrefix(key->instance_key)),
            "a check key begins with the prefix of its instance");
  }
}

// Names hold no zero bytes.
std::string Part(Bytes& bytes) {
  std::string out(bytes.Text());
  std::erase(out, '\0');
  return out;
}

storage::InstanceKey Tuple(Bytes& bytes) {
  storage::InstanceKey key;
  key.ns = Part(bytes);
  key.service = Part(bytes);
  key.node = Part(bytes);
  key.id = Part(bytes);
  return key;
}

void RoundTrip(const storage::InstanceKey& key, const std::string& encoded) {
  const auto view = storage::DecodeInstanceKey(encoded);
  Require(view && view->ns == key.ns && view->service == key.service && view->node == key.node &&
              view->id == key.id,
          "an instance key is decoded to what it was");
  const std::string service = storage::EncodeServiceKey(key.ns, key.service);
  const auto names = storage::DecodeServiceKey(service);
  Require(names && names->ns == key.ns && names->service == key.service,
          "a service key is decoded to what it was");
  const std::string check = storage::EncodeCheckKey(encoded, "c");
  const auto parts = storage::DecodeCheckKey(check);
  Require(parts && parts->instance_key == encoded && parts->check_id == "c",
          "a check key is decoded to what it was");
}

}  // namespace

void StorageKeys(std::string_view data) {
  DecodeAny(data);
  Bytes bytes(data);
  const storage::InstanceKey a = Tuple(bytes), b = Tuple(bytes);
  const std::string key_a = storage::EncodeInstanceKey(a), key_b = storage::EncodeInstanceKey(b);
  RoundTrip(a, key_a);
  RoundTrip(b, key_b);
  Require((a <=> b) == (key_a <=> key_b), "keys are in the order of their tuples");
  const bool same_service = a.ns == b.ns && a.service == b.service;
  Require(key_b.starts_with(storage::InstancePrefix(a.ns, a.service)) == same_service,
          "a prefix holds the instances of its service and no others");
  const uint64_t x = bytes.Number(), y = bytes.Number();
  Require((x <=> y) ==
              (storage::EncodeTransitionKey(key_a, x) <=> storage::EncodeTransitionKey(key_a, y)),
          "transitions are in the order of their seqs");
}

}  // namespace muster::fuzz
