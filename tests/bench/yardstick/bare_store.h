// Group commit and nothing else: all that waits goes into one synced write to one family, opened
// with the options of muster's database. Completions run on a thread of their own.
//
// Thread safety: Put. Errors: `done(false)` when a write fails.
#pragma once

#include <rocksdb/db.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/mutex.h"
#include "base/thread.h"

namespace muster::bench {

class BareStore {
 public:
  // Ends the program when the directory can't be used.
  explicit BareStore(const std::string& dir);
  ~BareStore();

  void Put(std::string key, std::string value, std::function<void(bool)> done);

 private:
  struct Waiting {
    std::string key;
    std::string value;
    std::function<void(bool)> done;
  };
  void Loop();
  bool Write(const std::vector<Waiting>& group);

  std::unique_ptr<rocksdb::DB> db_;
  base::SerialExecutor completions_{"bare-done"};
  base::Mutex mu_;
  base::CondVar wake_;
  std::vector<Waiting> queue_ MUSTER_GUARDED_BY(mu_);
  bool stopped_ MUSTER_GUARDED_BY(mu_) = false;
  base::NamedThread thread_;  // last: uses the others
};

}  // namespace muster::bench
