// Requests come as they are: a compressed one is refused with UNIMPLEMENTED when its headers have
// been read. gRPC would inflate it before it asks for the size: 4 MiB on the wire could become 4
// GB, without a token.
//
//   grpc::ServerBuilder builder;
//   RefuseCompressed(builder);
#pragma once

#include <grpc/compression.h>
#include <grpcpp/server_builder.h>

namespace muster::rpc {

inline void RefuseCompressed(grpc::ServerBuilder& builder) {
  for (int i = GRPC_COMPRESS_NONE + 1; i < GRPC_COMPRESS_ALGORITHMS_COUNT; ++i) {
    builder.SetCompressionAlgorithmSupportStatus(static_cast<grpc_compression_algorithm>(i), false);
  }
}

}  // namespace muster::rpc
