#include "server/app/line_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

namespace muster::app {
namespace {

class LineWriterTest : public testing::Test {
 protected:
  LineWriterTest() {
    EXPECT_EQ(::pipe2(pipe_, O_CLOEXEC), 0);
    // The reader alone doesn't wait.
    EXPECT_EQ(::fcntl(pipe_[0], F_SETFL, O_NONBLOCK), 0);
    room_ = static_cast<size_t>(::fcntl(pipe_[1], F_SETPIPE_SZ, 4 * 4096));
    out_ = std::make_unique<LineWriter>(pipe_[1],
                                        [](uint64_t lost) { return absl::StrCat("lost ", lost); });
  }
  ~LineWriterTest() override {
    if (pipe_[0] >= 0) ::close(pipe_[0]);
    ::close(pipe_[1]);
  }
  // All that is there.
  std::string Read() const {
    std::string out;
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(pipe_[0], buffer, sizeof(buffer))) > 0;) {
      out.append(buffer, static_cast<size_t>(got));
    }
    return out;
  }

  int pipe_[2] = {-1, -1};
  size_t room_ = 0;
  std::unique_ptr<LineWriter> out_;
};

TEST_F(LineWriterTest, WritesLines) {
  out_->Write("a");
  out_->Write("b");
  EXPECT_EQ(Read(), "a\nb\n");
}

TEST_F(LineWriterTest, WithoutAReaderLinesAreDroppedAndCounted) {
  const std::string full(room_ - 1, 'x');
  out_->Write(full);
  out_->Write("1");
  out_->Write("2");
  EXPECT_EQ(Read(), full + "\n");
  out_->Write("3");
  out_->Write("4");
  EXPECT_EQ(Read(), "lost 2\n3\n4\n");
}

// Each of them would wait for 100 ms else.
TEST_F(LineWriterTest, OnlyTheFirstWaits) {
  out_->Write(std::string(room_ - 1, 'x'));
  for (int i = 0; i < 100'000; ++i) out_->Write("more");
  Read();
  out_->Write("z");
  EXPECT_EQ(Read(), "lost 100000\nz\n");
}

TEST_F(LineWriterTest, ALineThatWasCutOffIsEndedFirst) {
  out_->Write(std::string(room_ + 10, 'x'));
  EXPECT_EQ(Read(), std::string(room_, 'x'));
  out_->Write("y");
  EXPECT_EQ(Read(), "\nlost 1\ny\n");
}

TEST_F(LineWriterTest, AReaderThatIsGoneIsNoEnd) {
  std::signal(SIGPIPE, SIG_IGN);
  ::close(pipe_[0]);
  pipe_[0] = -1;
  out_->Write("a");
  out_->Write("b");
}

}  // namespace
}  // namespace muster::app
