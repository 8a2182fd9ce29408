// The bare server that muster is compared with: the least that a gRPC server of its kind can do.
//
//   muster_yardstick DIR     prints "ready HOST:PORT"; serves until SIGTERM
//
// Set up as musterd is (server/app/server.cc), but with gRPC's callback API.
#pragma once

namespace muster::bench {

inline constexpr char kYardstickEmpty[] = "/muster.bench.v1.Yardstick/Empty";
inline constexpr char kYardstickRegister[] = "/muster.bench.v1.Yardstick/Register";
inline constexpr char kYardstickEcho[] = "/muster.bench.v1.Yardstick/Echo";
inline constexpr char kYardstickFollow[] = "/muster.bench.v1.Yardstick/Follow";
inline constexpr char kYardstickPublish[] = "/muster.bench.v1.Yardstick/Publish";

}  // namespace muster::bench
