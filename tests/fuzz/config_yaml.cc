#include "server/app/config_yaml.h"

#include <google/protobuf/util/message_differencer.h>

#include "base/errors.h"
#include "base/text.h"
#include "server/app/config.h"
#include "tests/fuzz/targets.h"

namespace muster::fuzz {

void ConfigYaml(std::string_view data) {
  config::v1::Config config = app::DefaultConfig();
  const absl::Status applied = app::ApplyYaml(data, "musterd.yaml", config);
  if (!applied.ok()) {
    Require(base::IsPrintableUtf8(std::string(applied.message())),
            "an error can be shown on a terminal");
    Require(std::string(applied.message()).starts_with("musterd.yaml"), "an error names its file");
    return;
  }
  const auto resolved = app::Resolve(config);
  if (!resolved.ok()) {
    Require(!base::FieldOf(resolved.status()).empty(), "an error names its key");
    Require(base::IsPrintableUtf8(std::string(resolved.status().message())),
            "an error can be shown on a terminal");
    return;
  }
  config::v1::Config again;
  Require(app::ApplyYaml(app::ToYaml(config), "printed", again).ok(),
          "what is printed can be read");
  Require(google::protobuf::util::MessageDifferencer::Equals(again, config),
          "what is printed is read as it was");
}

}  // namespace muster::fuzz
