// Lease sessions over gRPC, each with a connection of its own.
//
// Thread safety: Open from one thread at a time, each session by one thread. Sessions may outlive
// it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/channels.h"
#include "client/lease/lease_transport.h"

namespace muster::client {

class GrpcLeaseTransport : public LeaseTransport {
 public:
  // `addresses`: host:port; at least one.
  GrpcLeaseTransport(std::vector<std::string> addresses, Access access);
  ~GrpcLeaseTransport() override;

  size_t servers() const override { return addresses_.size(); }
  std::string address(size_t server) const override { return addresses_[server]; }
  std::unique_ptr<LeaseSession> Open(size_t server, Callbacks callbacks) override;

 private:
  const std::vector<std::string> addresses_;
  const Access access_;
  const std::shared_ptr<grpc::ChannelCredentials> credentials_;
};

}  // namespace muster::client
