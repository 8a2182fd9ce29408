// Who calls, and with which rights. Values; no thread safety of their own.
#pragma once

#include <string>
#include <string_view>

namespace muster::security {

enum class Right { kRead, kWrite };

inline std::string_view RightName(Right right) { return right == Right::kRead ? "read" : "write"; }

struct Identity {
  std::string name;  // for logs; not unique
  bool read = false;
  bool write = false;

  bool Has(Right right) const { return right == Right::kRead ? read : write; }
};

}  // namespace muster::security
