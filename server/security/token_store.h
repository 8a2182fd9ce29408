// The tokens in force, read from a file and again when the file changes.
//
//   auto store = std::make_shared<TokenStore>("/etc/muster/tokens");
//   if (absl::Status s = store->Load(); !s.ok()) return s;
//   ... every second: store->ReloadIfChanged();
//
// Thread safety: all members. A file that is bad or missing leaves the tokens in force as they are;
// problem() says what is wrong until a good file is seen, and the log gets one line per problem.
// Errors: those of ParseTokenFile, or the system's when the file can't be read; never a token.
// Cost: current() copies a pointer under a lock; ReloadIfChanged() is one stat() when nothing
// changed, and reads the file every time while there is a problem.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "server/security/token_file.h"

namespace muster::security {

class TokenStore {
 public:
  explicit TokenStore(std::string path) : path_(std::move(path)) {}

  // Reads the file. Until that succeeds once, no token is known.
  absl::Status Load();
  // Reads the file again when its time, size or inode changed.
  void ReloadIfChanged();

  // Never null.
  std::shared_ptr<const TokenTable> current() const;
  // Another number whenever the tokens in force have changed; read it before current().
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }
  // "" when the file's content is in force.
  std::string problem() const;
  const std::string& path() const { return path_; }

 private:
  struct Signature {
    int64_t mtime_ns = 0;
    int64_t size = -1;
    uint64_t inode = 0;
    friend bool operator==(const Signature&, const Signature&) = default;
  };
  struct Content {
    Signature signature;
    TokenTable table;
  };

  static Signature SignatureOf(const struct stat& info);
  absl::StatusOr<Content> Read() const;
  absl::Status ReadAndSwap() MUSTER_REQUIRES(reload_mu_);

  const std::string path_;
  base::Mutex reload_mu_;  // before mu_; held while the file is read
  Signature seen_ MUSTER_GUARDED_BY(reload_mu_);
  mutable base::Mutex mu_;
  std::shared_ptr<const TokenTable> current_ MUSTER_GUARDED_BY(mu_) =
      std::make_shared<const TokenTable>();
  std::string problem_ MUSTER_GUARDED_BY(mu_);
  std::atomic<uint64_t> generation_{0};
};

}  // namespace muster::security
