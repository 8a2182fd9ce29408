#include "server/rpc/page_token.h"

#include "base/errors.h"
#include "tests/fuzz/targets.h"

namespace muster::fuzz {
namespace {

bool Same(const rpc::PageToken& a, const rpc::PageToken& b) {
  return a.request == b.request && a.epoch == b.epoch && a.seq == b.seq &&
         a.remaining == b.remaining && a.panic == b.panic && a.after.group == b.after.group &&
         a.after.node == b.after.node && a.after.id == b.after.id;
}

}  // namespace

void PageToken(std::string_view data) {
  const auto token = rpc::DecodePageToken(data);
  if (token.ok()) {
    const auto again = rpc::DecodePageToken(rpc::EncodePageToken(*token));
    Require(again.ok() && Same(*again, *token), "a token that was read is written alike");
  } else {
    Require(base::ReasonOf(token.status()) == base::Reason::kPageTokenInvalid,
            "a bad token is said to be one");
  }
  Bytes bytes(data);
  rpc::PageToken made;
  made.request = bytes.Number();
  made.epoch = bytes.Number();
  made.seq = bytes.Number();
  made.remaining = bytes.Number();
  made.panic = bytes.Number() % 2 == 1;
  made.after.group = static_cast<uint32_t>(bytes.Number());
  made.after.node = std::string(bytes.Text());
  made.after.id = std::string(bytes.Text());
  const std::string text = rpc::EncodePageToken(made);
  const auto read = rpc::DecodePageToken(text);
  Require(read.ok() && Same(*read, made), "a token is read as it was written");
  // One bit of another place is another token, or none.
  std::string bent = text;
  bent[bytes.Byte() % bent.size()] ^= 4;
  const auto wrong = rpc::DecodePageToken(bent);
  Require(!wrong.ok() || Same(*wrong, made), "a bent token is no other token");
}

}  // namespace muster::fuzz
