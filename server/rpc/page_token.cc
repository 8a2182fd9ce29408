#include "server/rpc/page_token.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/errors.h"
#include "base/text.h"
#include "server/core/service_view.h"

namespace muster::rpc {
namespace {

using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;

constexpr uint32_t kVersion = 2;
constexpr size_t kSumBytes = 8;

void PutText(const std::string& text, CodedOutputStream& out) {
  out.WriteVarint32(static_cast<uint32_t>(text.size()));
  out.WriteString(text);
}

bool GetText(CodedInputStream& in, std::string* text) {
  uint32_t size = 0;
  return in.ReadVarint32(&size) && size <= 1024 && in.ReadString(text, static_cast<int>(size));
}

std::string Sum(std::string_view body) {
  uint64_t sum = core::EndpointHash(body, "page", kVersion);
  std::string out(kSumBytes, '\0');
  for (char& c : out) {
    c = static_cast<char>(sum & 0xFF);
    sum >>= 8;
  }
  return out;
}

}  // namespace

absl::Status PageTokenInvalid(std::string_view why) {
  return base::WithField(
      base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kPageTokenInvalid,
                      absl::StrCat("page_token ", base::Av(why), ": start again without one")),
      "page_token");
}

std::string EncodePageToken(const PageToken& token) {
  std::string body;
  {
    google::protobuf::io::StringOutputStream stream(&body);
    CodedOutputStream out(&stream);
    out.WriteVarint32(kVersion);
    out.WriteLittleEndian64(token.request);
    out.WriteVarint64(token.epoch);
    out.WriteVarint64(token.seq);
    out.WriteVarint64(token.remaining);
    out.WriteVarint32(token.panic ? 1 : 0);
    out.WriteVarint32(token.after.group);
    PutText(token.after.node, out);
    PutText(token.after.id, out);
  }
  return absl::WebSafeBase64Escape(body + Sum(body));
}

absl::StatusOr<PageToken> DecodePageToken(std::string_view text) {
  std::string bytes;
  if (text.size() > 4096 || !absl::WebSafeBase64Unescape(base::Av(text), &bytes) ||
      bytes.size() < kSumBytes ||
      Sum(std::string_view(bytes).substr(0, bytes.size() - kSumBytes)) !=
          bytes.substr(bytes.size() - kSumBytes)) {
    return PageTokenInvalid("is not one that a server gave");
  }
  CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),
                      static_cast<int>(bytes.size() - kSumBytes));
  PageToken token;
  uint32_t version = 0;
  uint32_t panic = 0;
  if (!in.ReadVarint32(&version) || version != kVersion || !in.ReadLittleEndian64(&token.request) ||
      !in.ReadVarint64(&token.epoch) || !in.ReadVarint64(&token.seq) ||
      !in.ReadVarint64(&token.remaining) || !in.ReadVarint32(&panic) ||
      !in.ReadVarint32(&token.after.group) || !GetText(in, &token.after.node) ||
      !GetText(in, &token.after.id)) {
    return PageTokenInvalid("is of another release");
  }
  token.panic = panic != 0;
  return token;
}

}  // namespace muster::rpc
