// The channel of a gRPC check: to the address that was resolved and allowed, and to nowhere else.
//
// Thread safety: the health loop's thread. Cost: a channel is a connection of its own, shared with
// no other check; it is made when it is first asked for. Its name is not resolved again, no proxy
// of the environment is used, and what went wrong before delays nothing: after a failure Drop makes
// way for a new one.
#pragma once

#include <grpcpp/channel.h>

#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "server/health/grpc_plan.h"
#include "server/health/probe_descriptors.h"

namespace muster::health {

class GrpcChannel {
 public:
  // `roots`: PEM of authorities; "" = the system's. `timeout`: of the check's runs.
  GrpcChannel(const std::string& roots, absl::Duration timeout, std::shared_ptr<ChannelRoom> room)
      : roots_(roots), timeout_(timeout), room_(std::move(room)) {}
  ~GrpcChannel() { Drop(); }

  // `fresh`: it was made by this call. Null: there is no room for another connection.
  std::shared_ptr<grpc::Channel> To(const boost::asio::ip::tcp::endpoint& endpoint,
                                    const Target& target, bool& fresh);
  // After a run, or when a watch begins. False: there is no room for one that stays, so it was
  // given up.
  bool Keep();
  void Drop();

 private:
  const std::string& roots_;
  const absl::Duration timeout_;
  const std::shared_ptr<ChannelRoom> room_;
  bool kept_ = false;
  boost::asio::ip::tcp::endpoint endpoint_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace muster::health
