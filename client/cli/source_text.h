// Where an answer comes from, in words.
#pragma once

#include <string>

#include "muster/client/resolution.h"

namespace muster::cli {

// "registry", "DNS", "the environment"…
inline std::string SourceText(client::Resolution::Source source) {
  switch (source) {
    case client::Resolution::Source::kRegistry:
      return "registry";
    case client::Resolution::Source::kLastKnown:
      return "last known";
    case client::Resolution::Source::kSnapshot:
      return "snapshot";
    case client::Resolution::Source::kDns:
      return "DNS";
    case client::Resolution::Source::kStatic:
      return "the name itself";
    case client::Resolution::Source::kOverride:
      return "the environment";
  }
  return "";
}

}  // namespace muster::cli
