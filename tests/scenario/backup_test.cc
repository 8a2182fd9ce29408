// Backup and restore with real processes: a copy taken under write load is the state at its
// revision, a file that isn't whole is no backup, and a copy that is killed leaves none.
#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/scenario/recorded_load.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Beaten = v1::HeartbeatResponse;

constexpr char kTarget[] = "target";

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream out;
  out << file.rdbuf();
  return std::move(out).str();
}

std::set<std::string> Names(const std::string& dir) {
  std::set<std::string> out;
  for (const auto& entry : fs::directory_iterator(dir)) out.insert(entry.path().filename());
  return out;
}

class Backup : public testing::Test {
 protected:
  struct Ran {
    int code = -1;
    std::string out, err;
  };
  std::vector<std::string> Words(const std::vector<std::string>& words) {
    std::vector<std::string> argv = {BinDir() + "/muster", "--addr", server_->address()};
    argv.insert(argv.end(), words.begin(), words.end());
    return argv;
  }
  Ran Muster(const std::vector<std::string>& words) {
    const std::string err = logs_.path(absl::StrCat(++ran_));
    Process process(Words(words), err);
    Ran ran;
    while (const auto line = process.ReadLine()) ran.out += *line + "\n";
    ran.code = process.Wait().value_or(-1);
    ran.err = Bytes(err);
    return ran;
  }
  Ran Restore(const std::string& file, const std::string& data_dir) {
    return Muster({"restore", file, "--data-dir", data_dir});
  }
  void ExpectRefused(const std::string& file, const std::string& what) {
    const std::set<std::string> before = Names(dir_.path());
    const Ran ran = Restore(file, dir_.path(kTarget));
    EXPECT_EQ(ran.code, 1) << what;
    EXPECT_EQ(ran.out, "") << what;
    EXPECT_THAT(ran.err, StartsWith("muster: ")) << what;
    EXPECT_THAT(ran.err, testing::ContainsRegex("the backup is (cut|damaged)|backup format"));
    EXPECT_EQ(Names(dir_.path()), before) << what << ": something was left behind";
    fs::remove_all(dir_.path(kTarget));
  }
  // `count` instances of about `bytes` each.
  void Fill(int count, size_t bytes) {
    constexpr int kBatch = 100;
    Remote remote(server_->address());
    for (int begin = 0; begin < count; begin += kBatch) {
      v1::BatchRegisterRequest batch;
      for (int i = begin; i < begin + kBatch; ++i) {
        *batch.add_requests() = MakeRequest(
            i % kServices, MakeEndpoint(absl::StrCat("i-", i), static_cast<uint32_t>(i + 1), bytes),
            std::string(16, 'a'));
      }
      v1::BatchRegisterResponse response;
      grpc::ClientContext context;
      Remote::Prepare(context);
      ASSERT_TRUE(remote.registry->BatchRegister(&context, batch, &response).ok());
      for (const auto& result : response.results()) ASSERT_EQ(result.status().code(), 0);
    }
  }

  TempDir dir_, logs_;
  std::unique_ptr<Musterd> server_ = std::make_unique<Musterd>(dir_.path("data"));
  int ran_ = 0;
};

class BackupUnderLoad : public Backup {
 protected:
  void Backup3() {
    for (size_t i = 0; i < 3; ++i) {
      const int before = Written();
      const Ran ran = Muster({"-o", "json", "backup", File(i)});
      ASSERT_EQ(ran.code, 0) << ran.err;
      EXPECT_GT(Written(), before) << "no load";
      v1::BackupResponse head;
      ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(ran.out, &head).ok()) << ran.out;
      backups_.push_back(head.revision());
      Pause(absl::Milliseconds(100));
    }
  }
  int Written() const {
    int written = 0;
    for (const auto& writer : writers_) written += writer->written();
    return written;
  }
  std::string File(size_t i) { return dir_.path(absl::StrCat("backup-", i)); }
  State StateAt(uint64_t seq, std::map<std::string, uint64_t>* lives) {
    State state;
    for (const auto& writer : writers_) writer->AddStateAt(seq, &state, lives);
    return state;
  }

  // The server at `address` is the one of backup `i`; nothing that an older server said is above
  // what it says.
  void ExpectRestored(size_t i, const std::string& address) {
    Remote remote(address);
    const v1::StatusResponse status = remote.Status();
    EXPECT_TRUE(epochs_.insert(status.revision().epoch()).second) << "every restore has its own";
    EXPECT_GT(status.revision().seq(), last_.seq());
    std::map<std::string, uint64_t> lives;
    const State expected = StateAt(backups_[i].seq(), &lives);
    EXPECT_EQ(Difference(expected, Fresh(remote)), "") << "backup " << i;
    for (int service = 0; service < kServices; ++service) {
      const v1::DiscoverResponse found = remote.Discover(ServiceName(service));
      EXPECT_EQ(found.service_revision().epoch(), status.revision().epoch());
      EXPECT_GT(found.service_revision().seq(), last_.seq()) << "an index went back";
    }
    v1::VerifyResponse verified;
    grpc::ClientContext context;
    Remote::Prepare(context);
    EXPECT_TRUE(remote.admin->Verify(&context, {}, &verified).ok());
    EXPECT_TRUE(verified.ok()) << verified.ShortDebugString();
    ExpectLeases(remote, backups_[i].seq(), lives);

    v1::RegisterResponse added;
    ASSERT_TRUE(
        remote.Register(MakeRequest(0, MakeEndpoint("new", 1, 0), "0123456789abcdef"), &added)
            .ok());
    EXPECT_GT(added.incarnation(), status.revision().seq());
    EXPECT_GE(added.revision().seq(), added.incarnation());
  }
  void ExpectLeases(Remote& remote, uint64_t seq, const std::map<std::string, uint64_t>& lives) {
    std::map<std::string, uint64_t> leases;
    v1::HeartbeatRequest beat;
    v1::ListLeasesRequest request;
    request.set_page_size(10'000);
    v1::ListLeasesResponse page;
    grpc::ClientContext context;
    Remote::Prepare(context);
    ASSERT_TRUE(remote.admin->ListLeases(&context, request, &page).ok());
    for (const v1::Lease& lease : page.leases()) {
      leases[lease.key().id()] = lease.incarnation();
      beat.add_lease_handles(lease.incarnation());
      EXPECT_GT(lease.remaining().seconds(), kTtlSeconds - 60) << "leases start anew";
    }
    EXPECT_EQ(leases, lives);
    const int alive = beat.lease_handles_size();
    for (const auto& writer : writers_) writer->AddLater(seq, &beat);
    EXPECT_GT(beat.lease_handles_size(), alive);
    Beaten beaten;
    ASSERT_TRUE(remote.Heartbeat(beat, &beaten).ok());
    ASSERT_EQ(beaten.outcomes_size(), beat.lease_handles_size());
    for (int i = 0; i < beaten.outcomes_size(); ++i) {
      if (i < alive) {
        EXPECT_EQ(beaten.outcomes(i), Beaten::RENEWED);
      } else {
        EXPECT_NE(beaten.outcomes(i), Beaten::RENEWED) << "of a life after the backup";
      }
    }
  }
  std::vector<std::unique_ptr<Writer>> writers_;
  std::vector<v1::Revision> backups_;
  v1::Revision last_;  // of the server that was backed up
  std::set<uint64_t> epochs_;
};

TEST_F(BackupUnderLoad, IsTheStateAtItsRevision) {
  constexpr int kWriters = 4;
  for (int i = 0; i < kWriters; ++i) {
    writers_.push_back(std::make_unique<Writer>(server_->address(), i, 750));
  }
  Watcher watcher(server_->address(), ServiceName(0), Everybody());
  ASSERT_TRUE(Eventually([&] { return watcher.complete(); }));
  ASSERT_NO_FATAL_FAILURE(Backup3());
  for (const auto& writer : writers_) writer->Stop();
  ASSERT_FALSE(HasFailure());

  last_ = Remote(server_->address()).Status().revision();
  epochs_.insert(last_.epoch());
  std::map<std::string, uint64_t> lives;
  State before = StateAt(last_.seq(), &lives);
  {
    Remote remote(server_->address());
    ASSERT_EQ(Difference(before, Fresh(remote)), "") << "the books of the writers are wrong";
  }
  // Each backup is another state, so that none passes for another.
  for (size_t i = backups_.size(); i-- > 0;) {
    EXPECT_EQ(backups_[i].epoch(), last_.epoch());
    const State then = StateAt(backups_[i].seq(), &lives);
    EXPECT_NE(Difference(then, before), "");
    before = then;
  }
  client::EndpointSet held;
  EXPECT_TRUE(Follow(server_->address(), held).empty());
  ASSERT_TRUE(Eventually([&] { return watcher.checksum() == held.checksum(); }));
  const int port = server_->port();
  ASSERT_EQ(server_->Stop(), 0);

  for (size_t i = 0; i < backups_.size(); ++i) {
    const std::string data = dir_.path(absl::StrCat("restored-", i));
    const Ran ran = Restore(File(i), data);
    ASSERT_EQ(ran.code, 0) << ran.err;
    const bool is_last = i + 1 == backups_.size();
    Musterd restored(data, {}, is_last ? port : 0);
    ExpectRestored(i, restored.address());
    if (!is_last) continue;

    // Whoever watched the old one starts over, and ends with what is there.
    EXPECT_EQ(Follow(restored.address(), held), std::vector<int>{v1::Reset::EPOCH_CHANGED});
    const v1::Selector everybody = Everybody();
    const v1::DiscoverResponse found =
        Remote(restored.address()).Discover(ServiceName(0), &everybody);
    EXPECT_EQ(held.checksum(), found.checksum());
    EXPECT_EQ(held.size(), static_cast<size_t>(found.endpoints_size()));
    EXPECT_TRUE(Eventually([&] { return watcher.checksum() == found.checksum(); }));
    EXPECT_EQ(watcher.ids().size(), held.size());
    EXPECT_EQ(watcher.seen().resets, 1);
    EXPECT_EQ(watcher.seen().snapshots, 2);
    EXPECT_EQ(watcher.seen().problem, "");
  }
  RecordProperty("writes", Written());
}

TEST_F(Backup, AFileThatIsNotWholeIsRefused) {
  ASSERT_NO_FATAL_FAILURE(Fill(900, 1200));
  Remote remote(server_->address());
  const State state = Fresh(remote);
  ASSERT_EQ(state.size(), 900u);
  ASSERT_EQ(Muster({"backup", dir_.path("good")}).code, 0);
  const std::string good = Bytes(dir_.path("good"));

  std::mt19937 random(20261124);
  std::set<size_t> lengths = {0, 1, 8, 9, 15, good.size() / 2, good.size() - 1};
  for (int i = 0; i < 5; ++i) lengths.insert(random() % good.size());
  // Between two frames too, where all that is there is right.
  size_t frames = 0;
  for (size_t end = 9; end < good.size(); ++frames) {
    lengths.insert(end);
    uint32_t size = 0;
    std::memcpy(&size, good.data() + end, sizeof(size));
    end += 4 + 8 + size;
  }
  ASSERT_GT(frames, 4u);
  for (const size_t length : lengths) {
    std::ofstream(dir_.path("bad"), std::ios::binary) << good.substr(0, length);
    ExpectRefused(dir_.path("bad"), absl::StrCat("the first ", length, " bytes"));
  }
  std::set<size_t> positions = {0, 8, 9, 13, 21, good.size() - 1};
  for (int i = 0; i < 12; ++i) positions.insert(random() % good.size());
  for (const size_t position : positions) {
    std::string bad = good;
    const uint32_t bit = random() % 8;
    bad[position] = static_cast<char>(bad[position] ^ (1 << bit));
    std::ofstream(dir_.path("bad"), std::ios::binary) << bad;
    ExpectRefused(dir_.path("bad"), absl::StrCat("bit ", bit, " of byte ", position));
  }
  std::ofstream(dir_.path("bad"), std::ios::binary) << good << 'x';
  ExpectRefused(dir_.path("bad"), "a byte more");

  // Nor is a directory taken that holds something: a file, or a store that is served.
  fs::create_directory(dir_.path("taken"));
  std::ofstream(dir_.path("taken/file")) << "mine";
  for (const std::string taken : {"taken", "data"}) {
    const std::set<std::string> before = Names(dir_.path(taken));
    const Ran ran = Restore(dir_.path("good"), dir_.path(taken));
    EXPECT_EQ(ran.code, 1);
    EXPECT_THAT(ran.err, HasSubstr("isn't empty"));
    EXPECT_EQ(Names(dir_.path(taken)), before);
  }
  EXPECT_EQ(Bytes(dir_.path("taken/file")), "mine");
  EXPECT_EQ(Muster({"verify"}).code, 0);

  const Ran ran = Restore(dir_.path("good"), dir_.path(kTarget));
  ASSERT_EQ(ran.code, 0) << ran.err;
  Musterd restored(dir_.path(kTarget));
  Remote again(restored.address());
  EXPECT_EQ(Difference(state, Fresh(again)), "");
}

// A backup is halted while it copies: the server keeps the only slot for it until it is killed.
TEST_F(Backup, KilledHalfWayLeavesNoneAndTheNextOneWorks) {
  ASSERT_NO_FATAL_FAILURE(Fill(3000, 10'000));
  const std::string file = dir_.path("backup");
  const std::string partial = file + ".partial";
  Remote remote(server_->address());
  const State state = Fresh(remote);
  ASSERT_EQ(state.size(), 3000u);
  bool half_way = false;
  int tries = 20;
  for (; !half_way && tries > 0; --tries) {
    fs::remove(file);
    fs::remove(partial);
    Process backup(Words({"backup", file}), logs_.path("killed"));
    std::error_code none_yet;
    ASSERT_TRUE(Eventually([&] {
      const auto size = fs::file_size(partial, none_yet);
      return fs::exists(file) || (!none_yet && size > 0);
    }));
    backup.Signal(SIGSTOP);
    const Ran other = Muster({"backup", dir_.path("other")});
    half_way = other.code == 1;
    EXPECT_THAT(other.err, HasSubstr(half_way ? "RESOURCE_EXHAUSTED" : ""));
    EXPECT_EQ(fs::exists(dir_.path("other")), !half_way);
    fs::remove(dir_.path("other"));
    backup.Kill();
  }
  ASSERT_TRUE(half_way) << "no backup was killed half-way";
  EXPECT_FALSE(fs::exists(file));
  EXPECT_GT(fs::file_size(partial), 0u);
  ExpectRefused(file + ".partial", "what the killed one wrote");

  // The slot is free once the server saw the connection end.
  Ran next;
  ASSERT_TRUE(Eventually(
      [&] {
        return (next = Muster({"backup", file})).code == 0;
      },
      absl::Seconds(5)))
      << next.err;
  EXPECT_FALSE(fs::exists(partial));

  // A restore that is killed leaves no directory that a server would take for a store.
  const std::string target = dir_.path(kTarget);
  const auto begun = [&] {
    const auto names = Names(dir_.path());
    const auto it = names.lower_bound(kTarget);
    return it != names.end() && it->rfind(kTarget, 0) == 0;
  };
  for (half_way = false; !half_way && tries > 0; --tries) {
    fs::remove_all(target);
    Process restore(Words({"restore", file, "--data-dir", target}), logs_.path("killed"));
    ASSERT_TRUE(Eventually(begun));
    restore.Kill();
    half_way = !fs::exists(target);
  }
  ASSERT_TRUE(half_way) << "no restore was killed half-way";
  ASSERT_EQ(Restore(file, target).code, 0);
  Musterd restored(target);
  Remote again(restored.address());
  EXPECT_EQ(Difference(state, Fresh(again)), "");
}

TEST_F(Backup, ARestoredServerThatIsKilledComesBackAsItWas) {
  ASSERT_NO_FATAL_FAILURE(Fill(900, 300));
  Remote remote(server_->address());
  State state = Fresh(remote);
  ASSERT_EQ(Muster({"backup", dir_.path("backup")}).code, 0);
  ASSERT_EQ(Restore(dir_.path("backup"), dir_.path(kTarget)).code, 0);
  Musterd(dir_.path(kTarget)).Kill();

  v1::Revision revision;
  {
    Musterd restored(dir_.path(kTarget));
    Remote again(restored.address());
    EXPECT_EQ(Difference(state, Fresh(again)), "");
    v1::RegisterResponse added;
    v1::Endpoint endpoint = MakeEndpoint("new", 1, 0);
    ASSERT_TRUE(again.Register(MakeRequest(0, endpoint, std::string(16, 'b')), &added).ok());
    restored.Kill();
    revision = added.revision();
    endpoint.set_revision(added.incarnation());
    state[ServiceName(0) + "/new"] = endpoint.DebugString();
  }
  Musterd restored(dir_.path(kTarget));
  Remote again(restored.address());
  EXPECT_EQ(Difference(state, Fresh(again)), "");
  EXPECT_EQ(again.Status().revision().epoch(), revision.epoch()) << "a restart is no restore";
  EXPECT_GE(again.Status().revision().seq(), revision.seq());
  EXPECT_NE(revision.epoch(), remote.Status().revision().epoch());
}

}  // namespace
}  // namespace muster::test
