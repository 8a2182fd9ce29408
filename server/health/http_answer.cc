#include "server/health/http_answer.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>

#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace muster::health {
namespace {

namespace http = boost::beast::http;
using ErrorCode = boost::system::error_code;

constexpr std::string_view kStart = "HTTP/1.";

// Keeps the first kMaxBody bytes and drops the rest.
struct FirstBytes {
  using value_type = std::string;
  class reader {
   public:
    template <bool isRequest, class Fields>
    reader(http::header<isRequest, Fields>& /*head*/, value_type& body) : body_(body) {}
    void init(const boost::optional<uint64_t>& /*length*/, ErrorCode& error) { error = {}; }
    template <class Buffers>
    size_t put(const Buffers& buffers, ErrorCode& error) {
      error = {};
      size_t taken = 0;
      for (const boost::asio::const_buffer part : boost::beast::buffers_range_ref(buffers)) {
        const size_t room = HttpAnswer::kMaxBody - body_.size();
        body_.append(static_cast<const char*>(part.data()), std::min(room, part.size()));
        taken += part.size();
      }
      return taken;
    }
    void finish(ErrorCode& error) { error = {}; }

   private:
    value_type& body_;
  };
};

}  // namespace

struct HttpAnswer::Parser : http::response_parser<FirstBytes> {
  explicit Parser(bool head_only) {
    header_limit(static_cast<std::uint32_t>(kMaxHead));
    body_limit(boost::none);
    eager(true);
    skip(head_only);
  }
};

HttpAnswer::HttpAnswer(bool head_only)
    : head_only_(head_only), parser_(std::make_unique<Parser>(head_only)) {}
HttpAnswer::~HttpAnswer() = default;

std::string_view HttpAnswer::body() const { return parser_->get().body(); }

bool HttpAnswer::body_cut() const { return body().size() >= kMaxBody; }

bool HttpAnswer::Feed(std::string_view bytes) {
  buffer_.append(bytes);
  return Parse();
}

// Beast looks for the end of the head first: what speaks another protocol, and then waits, would
// not be told from a slow answer.
bool HttpAnswer::LooksLikeHttp() {
  const size_t count = std::min(buffer_.size(), kStart.size());
  if (buffer_.compare(0, count, kStart, 0, count) == 0) return true;
  problem_ =
      absl::StrCat("bad version: \"", base::Av(std::string_view(buffer_).substr(0, 64)), "\"");
  return false;
}

bool HttpAnswer::Parse() {
  while (!buffer_.empty()) {
    if (!begun_ && !LooksLikeHttp()) return true;
    ErrorCode error;
    const size_t taken = parser_->put(boost::asio::buffer(buffer_), error);
    begun_ = begun_ || taken > 0;
    buffer_.erase(0, taken);
    if (error && error != http::error::need_more) {
      problem_ = error.message();
      return true;
    }
    const bool interim = !has_head() && parser_->is_header_done() && !TakeHead();
    if (interim && ++interim_ > kMaxInterim) {
      problem_ = absl::StrCat("more than ", kMaxInterim, " interim answers");
      return true;
    }
    if (interim) {
      parser_ = std::make_unique<Parser>(head_only_);
      begun_ = false;
      continue;
    }
    complete_ = parser_->is_done() || body_cut();
    if (complete_) return true;
    if (error || taken == 0) break;  // it needs more
  }
  if (buffer_.size() <= kMaxHead) return false;
  problem_ = absl::StrCat("a line of over ", kMaxHead, " bytes");
  return true;
}

// False: it is an interim one.
bool HttpAnswer::TakeHead() {
  const auto& head = parser_->get();
  const unsigned status = head.result_int();
  if (status < 200 && status != 101) return false;
  status_ = status;
  const auto reason = head.reason();
  reason_.assign(reason.data(), reason.size());
  if (reason_.empty()) {
    const auto usual = http::obsolete_reason(head.result());
    reason_.assign(usual.data(), usual.size());
  }
  return true;
}

void HttpAnswer::End() {
  if (complete_ || !problem_.empty()) return;
  if (!has_head()) {
    problem_ = "the connection was closed before the end of the answer's head";
    return;
  }
  ErrorCode error;
  parser_->put_eof(error);
  complete_ = parser_->is_done();
  if (error) problem_ = "the connection was closed before the end of the body";
}

}  // namespace muster::health
