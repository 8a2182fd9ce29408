// An HTTP/1 answer as it comes in, by the piece: the head and the first bytes of the body.
//
//   answer.Feed(bytes);  // true: all of it that is wanted is there, or nothing more can come of it
//
// Nothing of a target's answer makes it hold more than kMaxHead + kMaxBody bytes and one piece.
//
// Thread safety: none. Built on Boost.Beast, which only http_answer.cc includes.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace muster::health {

class HttpAnswer {
 public:
  static constexpr size_t kMaxHead = size_t{16} * 1024;
  static constexpr size_t kMaxBody = size_t{64} * 1024;
  // Interim answers before the one that counts.
  static constexpr int kMaxInterim = 16;

  // `head_only`: it has no body, whatever its head says.
  explicit HttpAnswer(bool head_only);
  ~HttpAnswer();

  // False: more is needed. Not called again once it was true.
  bool Feed(std::string_view bytes);
  // The connection has ended. Afterwards it is complete or has a problem.
  void End();

  bool has_head() const { return status_ != 0; }
  // REQUIRES: has_head().
  unsigned status() const { return status_; }
  const std::string& reason() const { return reason_; }
  std::string_view body() const;
  // The whole body has come, or kMaxBody of it.
  bool complete() const { return complete_; }
  bool body_cut() const;
  // Why no more can come of it: "bad version: \"SSH-2.0-x\""; "" when nothing is wrong.
  const std::string& problem() const { return problem_; }

 private:
  struct Parser;

  // False: what came isn't the beginning of an answer.
  bool LooksLikeHttp();
  bool Parse();
  bool TakeHead();

  const bool head_only_;
  std::unique_ptr<Parser> parser_;
  std::string buffer_;
  bool begun_ = false;  // the parser has taken the start line, or more
  int interim_ = 0;
  unsigned status_ = 0;
  std::string reason_;
  bool complete_ = false;
  std::string problem_;
};

}  // namespace muster::health
