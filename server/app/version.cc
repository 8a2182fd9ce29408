#include "server/app/version.h"

#include <google/protobuf/stubs/common.h>
#include <grpcpp/grpcpp.h>

#include "absl/strings/str_cat.h"

namespace muster::app {
namespace {

#if defined(__clang__)
constexpr char kCompiler[] = "clang " __clang_version__;
#else
constexpr char kCompiler[] = "gcc " __VERSION__;
#endif

}  // namespace

std::string_view Version() { return MUSTER_VERSION; }

std::string BuildText() {
  return absl::StrCat(kCompiler, ", ", MUSTER_BUILD_TYPE, ", gRPC ", grpc::Version(), ", protobuf ",
                      google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION),
                      ", RocksDB ", MUSTER_ROCKSDB_VERSION);
}

}  // namespace muster::app
