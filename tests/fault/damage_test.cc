// Flipped bytes, too few descriptors, too little memory: a clear error each, never a crash, never a
// wrong answer.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <random>

#include "absl/strings/match.h"
#include "tests/fault/fault_client.h"

namespace muster::test {
namespace {

namespace fs = std::filesystem;

class DamageTest : public testing::Test {
 protected:
  void Start() {
    server_.reset();
    server_ = std::make_unique<Musterd>(data_);
    remote_ = std::make_unique<Remote>(server_->address());
  }
  void Fill(int from, int to) {
    for (int i = from; i < to; ++i) {
      ASSERT_TRUE(TryRegister(*remote_, Registration("web", absl::StrCat("i", i), 300)).ok());
    }
  }
  // A store with tables and a log that holds the rest.
  void MakeStore() {
    Start();
    Fill(0, 60);
    server_->Kill();
    Start();  // recovery writes tables
    Fill(60, 90);
    server_->Kill();
  }
  std::vector<fs::path> Files(const std::string& part) const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(data_)) {
      const std::string name = entry.path().filename().string();
      if (entry.file_size() > 0 && name != "muster.logs" && absl::StrContains(name, part)) {
        files.push_back(entry.path());
      }
    }
    EXPECT_FALSE(files.empty()) << part;
    std::sort(files.begin(), files.end());
    return files;
  }
  void Flip(const fs::path& file, size_t at, int mask) {
    std::string bytes = TextOf(file);
    bytes[at] ^= static_cast<char>(mask);
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
  }
  FailedStart Fail(const std::vector<std::string>& before = {}) {
    return StartAndFail(before, data_, dir_.path("log"));
  }
  // The last line of what was said is one for people.
  static void ExpectClear(const FailedStart& failed) {
    EXPECT_EQ(failed.code, 1) << failed.err;
    EXPECT_NE(failed.err.find("musterd: "), std::string::npos) << failed.err;
    EXPECT_TRUE(absl::StrContains(failed.err, "muster restore")) << failed.err;
  }

  const TempDir dir_;
  const std::string data_ = dir_.path("data");
  std::unique_ptr<Musterd> server_;
  std::unique_ptr<Remote> remote_;
};

TEST_F(DamageTest, AFlippedByteAnywhereIsNamedOrHarmless) {
  MakeStore();
  const fs::path sound = dir_.path("sound");
  fs::copy(data_, sound, fs::copy_options::recursive);
  const uint32_t seed = std::random_device()();
  std::cout << "seed " << seed << std::endl;
  std::mt19937 random(seed);
  int refused = 0;
  int harmless = 0;
  for (const std::string part : {".sst", "MANIFEST", "CURRENT", ".log"}) {
    for (int round = 0; round < 12; ++round) {
      const auto files = Files(part);
      // The one MANIFEST that is in force is the latest.
      const fs::path& file = part == "MANIFEST" ? files.back() : files[random() % files.size()];
      const size_t at = random() % fs::file_size(file);
      Flip(file, at, 1 << random() % 8);
      SCOPED_TRACE(absl::StrCat(file.filename().string(), " byte ", at));
      const FailedStart failed = Fail();
      if (failed.code) {
        ExpectClear(failed);
        ++refused;
      } else {
        // It serves: then with everything. Nothing that was read used that byte.
        Start();
        EXPECT_EQ(remote_->Discover("web").endpoints_size(), 90);
        EXPECT_TRUE(Problems(*remote_).empty());
        server_->Kill();
        EXPECT_EQ(part, ".sst") << "each byte of the others counts";
        ++harmless;
      }
      fs::remove_all(data_);
      fs::copy(sound, data_, fs::copy_options::recursive);
    }
  }
  std::cout << refused << " refused, " << harmless << " harmless" << std::endl;
  EXPECT_GT(refused, 30);
  Start();
  EXPECT_EQ(remote_->Discover("web").endpoints_size(), 90);
}

TEST_F(DamageTest, ATornTailIsDroppedAndTheServerStarts) {
  MakeStore();
  const fs::path log = Files(".log").back();
  fs::resize_file(log, fs::file_size(log) - 5);
  Start();
  EXPECT_EQ(remote_->Discover("web").endpoints_size(), 89);
  EXPECT_TRUE(Problems(*remote_).empty());
  Fill(89, 90);
}

TEST_F(DamageTest, TheLastWriteUnreadableIsSalvaged) {
  MakeStore();
  const fs::path log = Files(".log").back();
  Flip(log, fs::file_size(log) - 20, 1);
  const FailedStart failed = Fail();
  ExpectClear(failed);
  const std::string command = "muster salvage --data-dir " + data_;
  ASSERT_TRUE(absl::StrContains(failed.err, command)) << failed.err;
  const auto muster = [&](const std::vector<std::string>& words) {
    std::vector<std::string> argv = {BinDir() + "/muster", "salvage", "--data-dir", data_};
    argv.insert(argv.end(), words.begin(), words.end());
    return Process(argv).Wait();
  };
  EXPECT_EQ(muster({}), 2) << "it asks first";
  EXPECT_EQ(Fail().code, 1);
  EXPECT_EQ(muster({"--yes"}), 0);
  Start();
  EXPECT_EQ(remote_->Discover("web").endpoints_size(), 89);
  EXPECT_TRUE(Problems(*remote_).empty());
  Fill(89, 90);
}

// As a power cut may leave it, but for what muster.logs says.
TEST_F(DamageTest, AnEmptiedLogIsNotTakenForAPowerCuts) {
  Start();
  Fill(0, 60);
  ASSERT_EQ(server_->Stop(), 0);
  Start();
  Fill(60, 90);
  ASSERT_EQ(server_->Stop(), 0);
  fs::resize_file(Files(".log").back(), 0);
  const FailedStart failed = Fail();
  ExpectClear(failed);
  EXPECT_TRUE(absl::StrContains(failed.err, "muster salvage --data-dir " + data_)) << failed.err;
  EXPECT_EQ(Process({BinDir() + "/muster", "salvage", "--data-dir", data_, "--yes"}).Wait(), 0);
  Start();
  EXPECT_EQ(remote_->Discover("web").endpoints_size(), 60);
  EXPECT_TRUE(Problems(*remote_).empty());
}

TEST_F(DamageTest, TooFewDescriptorsAreNamed) {
  const auto with_limit = [](int files) {
    return std::vector<std::string>{"/bin/sh", "-c",
                                    absl::StrCat("ulimit -n ", files, "; exec \"$@\""), "sh"};
  };
  for (const int files : {16, 64}) {
    const FailedStart failed = Fail(with_limit(files));
    EXPECT_EQ(failed.code, 1) << files << failed.err;
    EXPECT_TRUE(absl::StrContains(failed.err, "ulimit -n")) << failed.err;
  }
}

// The store needs descriptors when there are none.
TEST_F(DamageTest, NoDescriptorsLeftLoseNothing) {
  std::ofstream(dir_.path("small.yaml")) << "rocksdb: {write_buffer_bytes: 1048576}\n";
  server_ = std::make_unique<Musterd>(
      data_, std::vector<std::string>{"--config", dir_.path("small.yaml")});
  remote_ = std::make_unique<Remote>(server_->address());
  Fill(0, 5);
  const rlimit few{UsageOf(server_->pid()).fds, UsageOf(server_->pid()).fds};
  ASSERT_EQ(::prlimit(server_->pid(), RLIMIT_NOFILE, &few, nullptr), 0);
  int registered = 5;
  grpc::Status status;
  while (status.ok() && registered < 2'000) {
    status = TryRegister(*remote_, Registration("web", absl::StrCat("i", registered), 8'000));
    if (status.ok()) ++registered;
  }
  EXPECT_FALSE(status.ok()) << "logs and tables were written without descriptors";
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
  EXPECT_TRUE(server_->process().Running());
  EXPECT_EQ(remote_->Discover("web").endpoints_size(), registered) << "reads go on";
  EXPECT_NE(remote_->Status().frozen_reason().find("Too many open files"), std::string::npos)
      << remote_->Status().frozen_reason();
  server_->Kill();
  Start();
  const int found = remote_->Discover("web").endpoints_size();
  EXPECT_TRUE(found == registered || found == registered + 1) << found << " of " << registered;
  EXPECT_TRUE(Problems(*remote_).empty());
}

uint64_t VirtualBytes(pid_t pid) {
  std::ifstream in(absl::StrCat("/proc/", pid, "/statm"));
  uint64_t pages = 0;
  in >> pages;
  return pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

TEST_F(DamageTest, OutOfMemoryEndsItWithAWordAndLosesNothing) {
  const std::string log = dir_.path("log");
  Process process({BinDir() + "/musterd", "--data-dir", data_, "--grpc-listen", "127.0.0.1:0",
                   "--http-listen", "off", "--dns-listen", "off"},
                  log);
  const std::string ready = process.ReadLine(absl::Seconds(60)).value_or("");
  ASSERT_EQ(ready.rfind("ready grpc=", 0), 0u) << ready;
  Remote remote(ready.substr(std::string("ready grpc=").size()));
  ASSERT_TRUE(TryRegister(remote, Registration("web", "first")).ok());
  const uint64_t most = VirtualBytes(process.pid()) + (24 << 20);
  const rlimit little{most, most};
  ASSERT_EQ(::prlimit(process.pid(), RLIMIT_AS, &little, nullptr), 0);
  int registered = 1;
  grpc::Status status;
  while (status.ok() && registered < 20'000) {
    status = TryRegister(remote, Registration("web", absl::StrCat("i", registered), 14'000));
    if (status.ok()) ++registered;
  }
  ASSERT_FALSE(status.ok()) << "the limit has no effect";
  EXPECT_EQ(process.Wait(), 1) << TextOf(log);
  EXPECT_TRUE(absl::StrContains(TextOf(log), "musterd: out of memory")) << TextOf(log);
  Start();
  const int found = remote_->Discover("web").endpoints_size();
  EXPECT_TRUE(found == registered || found == registered + 1) << found << " of " << registered;
  EXPECT_TRUE(Problems(*remote_).empty());
}

}  // namespace
}  // namespace muster::test
