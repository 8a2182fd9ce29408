// backup and restore, with a real backup of a store in memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/rng.h"
#include "fake_server.h"
#include "storage/backup_file.h"
#include "storage/memory_engine.h"

namespace muster::cli {
namespace {

namespace fs = std::filesystem;
using testing::FakeServer;
using ::testing::HasSubstr;
using testing::Ok;
using testing::Ran;
using testing::RunAt;
using testing::RunWords;
using testing::SendInterrupt;

std::vector<std::string> BackupChunks() {
  base::SystemRng rng;
  storage::MemoryEngine engine({.clock = base::RealClock(), .rng = rng, .threaded = false});
  EXPECT_TRUE(engine.Open({}).ok());
  const auto snapshot = engine.GetSnapshot();
  EXPECT_TRUE(snapshot.ok());
  std::vector<std::string> chunks;
  const absl::Status written =
      storage::WriteBackup(**snapshot, base::RealClock(), "test", [&](std::string_view chunk) {
        chunks.emplace_back(chunk);
        return absl::OkStatus();
      });
  EXPECT_TRUE(written.ok()) << written;
  return chunks;
}

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

class BackupTest : public ::testing::Test {
 protected:
  BackupTest() {
    std::vector<std::string> chunks = BackupChunks();
    for (const std::string& chunk : chunks) all_ += chunk;
    Send(std::move(chunks), Ok());
    std::string name = (fs::temp_directory_path() / "muster-cli-XXXXXX").string();
    dir_ = mkdtemp(name.data());
    path_ = dir_ + "/b.muster";
    server_.admin.backup = [this](auto& writer) {
      const auto [chunks, end] = [this] {
        base::MutexLock lock(mu_);
        return std::pair(chunks_, end_);
      }();
      for (size_t i = 0; i < chunks.size(); ++i) {
        v1::BackupResponse part;
        part.set_chunk(chunks[i]);
        if (i == 0) part.mutable_revision()->set_seq(5);
        writer.Write(part);
      }
      return end;
    };
  }
  ~BackupTest() override { fs::remove_all(dir_); }

  size_t FilesLeft() const {
    return std::distance(fs::directory_iterator(dir_), fs::directory_iterator());
  }

  // What the server sends from now on.
  void Send(std::vector<std::string> chunks, const grpc::Status& end) {
    base::MutexLock lock(mu_);
    chunks_ = std::move(chunks);
    end_ = end;
  }

  std::string all_;
  std::string dir_;
  std::string path_;
  base::Mutex mu_;
  std::vector<std::string> chunks_ MUSTER_GUARDED_BY(mu_);
  grpc::Status end_ MUSTER_GUARDED_BY(mu_) = Ok();
  FakeServer server_;
};

TEST_F(BackupTest, ToAFileAndBack) {
  const Ran ran = RunAt(server_, {"backup", path_});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out,
            "wrote " + path_ + ": " + std::to_string(all_.size()) + " bytes, revision 0:5\n");
  EXPECT_EQ(Bytes(path_), all_);
  EXPECT_EQ(FilesLeft(), 1u);
  struct stat info {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);

  const std::string data = dir_ + "/data";
  const Ran restored = RunWords({"restore", path_, "--data-dir", data});
  EXPECT_EQ(restored.code, 0) << restored.err;
  EXPECT_EQ(restored.out, "restored into " + data + "; start: musterd --data-dir " + data + "\n");
  EXPECT_TRUE(fs::exists(data));
  const Ran again = RunWords({"restore", path_, "--data-dir", data});
  EXPECT_EQ(again.code, 1);
  EXPECT_THAT(again.err, HasSubstr(data));
}

TEST_F(BackupTest, ThroughPipes) {
  const Ran ran = RunAt(server_, {"backup", "-"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, all_);
  EXPECT_EQ(RunAt(server_, {"backup", "-"}, {.out_is_terminal = true}).code, 2);
  const Ran restored =
      RunWords({"-o", "json", "restore", "-", "--data-dir", dir_ + "/data"}, {.input = all_});
  EXPECT_EQ(restored.code, 0) << restored.err;
  EXPECT_EQ(restored.out, "{\"dataDir\":\"" + dir_ + "/data\"}\n");
}

TEST_F(BackupTest, AFileIsOverwrittenOnlyByForce) {
  std::ofstream(path_) << "old";
  const Ran refused = RunAt(server_, {"backup", path_});
  EXPECT_EQ(refused.code, 1);
  EXPECT_EQ(refused.err, "muster: " + path_ + " exists; --force overwrites it\n");
  EXPECT_EQ(Bytes(path_), "old");
  const Ran forced = RunAt(server_, {"backup", path_, "--force", "-o", "json"});
  EXPECT_EQ(forced.code, 0) << forced.err;
  EXPECT_EQ(forced.out, "{\"revision\":{\"seq\":\"5\"}}\n");
  EXPECT_EQ(Bytes(path_), all_);
}

TEST_F(BackupTest, OnlyRegularFilesAreReplaced) {
  const std::string victim = dir_ + "/victim";
  std::ofstream(victim) << "dear";
  fs::create_symlink(victim, path_);
  EXPECT_EQ(RunAt(server_, {"backup", path_, "--force"}).err,
            "muster: " + path_ + " is a symbolic link, which is never replaced\n");
  const std::string pipe = dir_ + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(RunAt(server_, {"backup", pipe, "--force"}).err,
            "muster: " + pipe + " is not a regular file, which is never replaced\n");
  EXPECT_EQ(Bytes(victim), "dear");
  EXPECT_EQ(FilesLeft(), 3u);
}

TEST_F(BackupTest, APartialFileOfOthersIsLeftAlone) {
  const std::string partial = path_ + ".partial";
  const std::string victim = dir_ + "/victim";
  std::ofstream(victim) << "dear";
  fs::create_symlink(victim, partial);
  EXPECT_EQ(RunAt(server_, {"backup", path_, "--force"}).err,
            "muster: " + partial + " is a symbolic link, which is never replaced\n");
  EXPECT_EQ(Bytes(victim), "dear");
  fs::remove(partial);
  std::ofstream(partial) << "half";
  fs::permissions(partial, fs::perms::all);  // as no backup makes it
  EXPECT_EQ(RunAt(server_, {"backup", path_}).err,
            "muster: " + partial + " exists; --force overwrites it\n");
  EXPECT_EQ(Bytes(partial), "half");
  const Ran forced = RunAt(server_, {"backup", path_, "--force"});
  EXPECT_EQ(forced.code, 0) << forced.err;
  struct stat info {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(BackupTest, WhatABackupThatWasCutOffLeftIsReplaced) {
  std::ofstream(path_ + ".partial") << "half";
  fs::permissions(path_ + ".partial", fs::perms::owner_read | fs::perms::owner_write);
  const Ran ran = RunAt(server_, {"backup", path_});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_FALSE(fs::exists(path_ + ".partial"));
}

TEST_F(BackupTest, TheOtherOfTwoBackupsToOneFileFails) {
  server_.admin.backup = [this](auto& writer) {
    // As another muster backup --force does.
    fs::remove(path_ + ".partial");
    std::ofstream(path_ + ".partial") << "the other's";
    v1::BackupResponse part;
    part.set_chunk("mine");
    writer.Write(part);
    return Ok();
  };
  const Ran ran = RunAt(server_, {"backup", path_});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("was replaced meanwhile: another backup writes it"));
  EXPECT_EQ(Bytes(path_ + ".partial"), "the other's");
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(BackupTest, AStreamThatBreaksLeavesNoFile) {
  Send(BackupChunks(), grpc::Status(grpc::StatusCode::UNAVAILABLE, "going away"));
  const Ran ran = RunAt(server_, {"backup", path_});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("UNAVAILABLE: going away"));
  EXPECT_EQ(FilesLeft(), 0u);
  Send({}, Ok());
  EXPECT_EQ(RunAt(server_, {"backup", path_}).code, 1);
  EXPECT_EQ(FilesLeft(), 0u);
}

TEST_F(BackupTest, ASignalLeavesNoFile) {
  server_.admin.backup = [](auto& writer) {
    v1::BackupResponse part;
    part.set_chunk(std::string(1 << 20, 'x'));
    writer.Write(part);
    SendInterrupt();
    // Until the caller is gone.
    while (writer.Write(part)) continue;
    return Ok();
  };
  const Ran ran = RunAt(server_, {"backup", path_});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(FilesLeft(), 0u);
}

TEST_F(BackupTest, AFolderThatIsNotThereIsAFailure) {
  const Ran ran = RunAt(server_, {"backup", dir_ + "/none/b.muster"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("No such file or directory"));
  EXPECT_EQ(RunAt(server_, {"backup", dir_, "--force"}).code, 1);
}

TEST_F(BackupTest, ALinkIsNoPlaceToRestoreTo) {
  std::ofstream(path_, std::ios::binary) << all_;
  fs::create_directory(dir_ + "/real");
  fs::create_directory_symlink(dir_ + "/real", dir_ + "/data");
  for (const std::string& data : {dir_ + "/data", dir_ + "/data/"}) {
    const Ran ran = RunWords({"restore", path_, "--data-dir", data});
    EXPECT_EQ(ran.code, 1);
    EXPECT_THAT(ran.err, HasSubstr("/data is a symbolic link: name the directory itself"));
  }
  EXPECT_EQ(FilesLeft(), 3u);
}

TEST_F(BackupTest, ADamagedBackupIsNotRestored) {
  std::string damaged = all_;
  damaged.back() ^= 1;
  std::ofstream(path_, std::ios::binary) << damaged;
  const Ran ran = RunWords({"restore", path_, "--data-dir", dir_ + "/data"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("damaged"));
  EXPECT_FALSE(fs::exists(dir_ + "/data"));
}

}  // namespace
}  // namespace muster::cli
