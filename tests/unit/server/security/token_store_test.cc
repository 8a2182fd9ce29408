#include "server/security/token_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/log.h"
#include "base/thread.h"

namespace muster::security {
namespace {

using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

constexpr std::string_view kOld = "old-token-000001";
constexpr std::string_view kNew = "new-token-000001";

class TokenStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string dir = testing::TempDir() + "token_store_XXXXXX";
    ASSERT_NE(mkdtemp(dir.data()), nullptr);
    dir_ = dir;
    path_ = dir + "/tokens";
    base::SetLogSink([this](base::LogLevel level, std::string_view message,
                            absl::Span<const base::LogField> fields) {
      if (level == base::LogLevel::kError) ++errors_;
      log_.append(message);
      for (const base::LogField& field : fields) log_.append(" ").append(field.value);
      log_.append("\n");
    });
  }
  void TearDown() override {
    base::SetLogSink(nullptr);
    fs::remove_all(dir_);
  }

  // A new inode each time, as editors and deployments write.
  void Replace(const std::string& text) const {
    std::ofstream(path_ + ".new") << text;
    fs::rename(path_ + ".new", path_);
  }
  static bool Knows(const TokenStore& store, std::string_view token) {
    return store.current()->Find(token) != nullptr;
  }

  fs::path dir_;
  std::string path_;
  std::string log_;
  int errors_ = 0;
};

TEST_F(TokenStoreTest, KnowsNobodyBeforeTheFirstLoad) {
  const TokenStore store(path_);
  EXPECT_FALSE(Knows(store, kOld));
}

TEST_F(TokenStoreTest, LoadReportsAMissingAndABadFile) {
  TokenStore store(path_);
  const absl::Status missing = store.Load();
  EXPECT_THAT(std::string(missing.message()), HasSubstr(path_));
  EXPECT_THAT(std::string(missing.message()), HasSubstr("No such file"));
  Replace("read short\n");
  const absl::Status bad = store.Load();
  EXPECT_THAT(std::string(bad.message()), HasSubstr("line 1: token has 5 characters"));
  EXPECT_EQ(store.problem(), bad.message());
  fs::remove(path_);
  fs::create_directory(path_);
  EXPECT_THAT(std::string(store.Load().message()), HasSubstr("no regular file"));
}

TEST_F(TokenStoreTest, AReplacedFileIsInForceAtTheNextLook) {
  Replace("read old-token-000001\n");
  TokenStore store(path_);
  ASSERT_TRUE(store.Load().ok());
  EXPECT_TRUE(Knows(store, kOld));
  Replace("read new-token-000001\n");
  EXPECT_TRUE(Knows(store, kOld)) << "not before it is looked at";
  store.ReloadIfChanged();
  EXPECT_TRUE(Knows(store, kNew));
  EXPECT_FALSE(Knows(store, kOld)) << "a token that was taken out is still in force";
}

TEST_F(TokenStoreTest, AFileWrittenInPlaceIsSeenByItsTime) {
  Replace("read old-token-000001\n");
  TokenStore store(path_);
  ASSERT_TRUE(store.Load().ok());
  std::ofstream(path_) << "read new-token-000001\n";  // same size, same inode
  fs::last_write_time(path_, fs::last_write_time(path_) + std::chrono::seconds(1));
  store.ReloadIfChanged();
  EXPECT_TRUE(Knows(store, kNew));
}

TEST_F(TokenStoreTest, AnUnchangedFileIsNotReadAgain) {
  Replace("read old-token-000001\n");
  TokenStore store(path_);
  ASSERT_TRUE(store.Load().ok());
  const auto before = store.current();
  store.ReloadIfChanged();
  EXPECT_EQ(store.current(), before);
  EXPECT_EQ(log_, "");
}

TEST_F(TokenStoreTest, ABadFileKeepsTheOldTokensAndIsLoggedOnce) {
  Replace("read old-token-000001\n");
  TokenStore store(path_);
  ASSERT_TRUE(store.Load().ok());
  Replace("read old-token-000001\nreed new-token-000001\n");
  for (int i = 0; i < 3; ++i) store.ReloadIfChanged();
  EXPECT_TRUE(Knows(store, kOld));
  EXPECT_FALSE(Knows(store, kNew));
  EXPECT_EQ(errors_, 1);
  EXPECT_THAT(store.problem(), HasSubstr("line 2"));
  EXPECT_THAT(log_, HasSubstr("line 2"));
  EXPECT_THAT(log_, Not(HasSubstr("token-000001")));

  Replace("");  // another problem: another line
  for (int i = 0; i < 3; ++i) store.ReloadIfChanged();
  EXPECT_EQ(errors_, 2);
  EXPECT_TRUE(Knows(store, kOld));

  Replace("read new-token-000001\n");
  store.ReloadIfChanged();
  EXPECT_TRUE(Knows(store, kNew));
  EXPECT_EQ(store.problem(), "");
}

TEST_F(TokenStoreTest, AFileThatVanishesKeepsTheOldTokens) {
  Replace("read old-token-000001\n");
  TokenStore store(path_);
  ASSERT_TRUE(store.Load().ok());
  fs::rename(path_, path_ + ".away");
  store.ReloadIfChanged();
  store.ReloadIfChanged();
  EXPECT_TRUE(Knows(store, kOld));
  EXPECT_THAT(store.problem(), HasSubstr("No such file"));
  EXPECT_EQ(errors_, 1);
  fs::rename(path_ + ".away", path_);  // the very same file comes back
  store.ReloadIfChanged();
  EXPECT_EQ(store.problem(), "");
}

TEST_F(TokenStoreTest, ReadersAlwaysSeeOneWholeFile) {
  const std::string a = "read first-token-0001\nread second-token-001\n";
  const std::string b = "write first-token-0001\nwrite second-token-001\n";
  Replace(a);
  TokenStore store(path_);
  ASSERT_TRUE(store.Load().ok());
  std::atomic<bool> stop = false;
  std::atomic<int> looks = 0;
  std::atomic<int> torn = 0;
  base::NamedThread reader("reader", [&] {
    while (!stop) {
      const auto table = store.current();
      const Identity* first = table->Find("first-token-0001");
      const Identity* second = table->Find("second-token-001");
      if (first == nullptr || second == nullptr || first->write != second->write) ++torn;
      ++looks;
    }
  });
  for (int i = 0; i < 100 || looks < 100; ++i) {
    Replace(i % 2 == 0 ? b : a);
    store.ReloadIfChanged();
  }
  stop = true;
  reader.Join();
  EXPECT_EQ(torn, 0);
}

}  // namespace
}  // namespace muster::security
