#include "client/cli/instance_file.h"

#include "absl/strings/str_cat.h"
#include "client/cli/yaml_message.h"
#include "client/cli/yaml_tree.h"

namespace muster::cli {
namespace {

constexpr size_t kMaxInstances = 1'000;
constexpr std::string_view kList = "instances";

// An object whose first key is in quotes, as JSON has them all.
YamlBytes BytesOf(const std::string& text) {
  constexpr const char* kBlank = " \t\r\n";
  const size_t brace = text.find_first_not_of(kBlank);
  if (brace == std::string::npos || text[brace] != '{') return YamlBytes::kText;
  const size_t key = text.find_first_not_of(kBlank, brace + 1);
  return key != std::string::npos && text[key] == '"' ? YamlBytes::kBase64 : YamlBytes::kText;
}

// The list, when the document is one of `instances`.
const YamlNode* ListOf(const YamlNode& document) {
  if (document.kind != YamlNode::Kind::kMap || document.items.empty()) return nullptr;
  return document.items[0].scalar == kList ? &document.items[1] : nullptr;
}

class InstanceReader {
 public:
  InstanceReader(std::string_view source, YamlBytes bytes) : source_(source), bytes_(bytes) {}

  absl::Status Add(const YamlNode& document) {
    const YamlNode* const list = ListOf(document);
    if (list == nullptr) return AddOne(document);
    if (document.items.size() > 2) {
      return YamlError(source_, document.items[2].line,
                       "a key beside \"instances\"; allowed: the list alone");
    }
    if (list->kind != YamlNode::Kind::kList) {
      return YamlError(source_, document.line,
                       "\"instances\" is no list; allowed: a list, each a section of keys");
    }
    for (const YamlNode& item : list->items) {
      if (absl::Status status = AddOne(item); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<v1::RegisterRequest>> Take() {
    if (requests_.empty()) return YamlError(source_, 0, "holds no instance");
    return std::move(requests_);
  }

 private:
  absl::Status AddOne(const YamlNode& map) {
    if (map.kind != YamlNode::Kind::kMap) {
      return YamlError(source_, map.line, "an instance is a section of keys, such as service: web");
    }
    if (requests_.size() == kMaxInstances) {
      return YamlError(source_, map.line, absl::StrCat("more than ", kMaxInstances, " instances"));
    }
    v1::RegisterRequest& request = requests_.emplace_back();
    absl::Status status = ReadYamlMessage(
        map, source_, bytes_,
        {YamlTarget{request.mutable_instance()}, YamlTarget{&request, {"ttl", "permanent"}}});
    if (!status.ok() || !request.has_ttl() || !request.permanent()) return status;
    return YamlError(source_, map.line,
                     "\"ttl\" and \"permanent\" are both given; allowed: one of them");
  }

  const std::string_view source_;
  const YamlBytes bytes_;
  std::vector<v1::RegisterRequest> requests_;
};

}  // namespace

absl::StatusOr<std::vector<v1::RegisterRequest>> ParseInstances(const std::string& text,
                                                                std::string_view source) {
  const auto documents = ReadYaml(text, source);
  if (!documents.ok()) return documents.status();
  InstanceReader reader(source, BytesOf(text));
  for (const YamlNode& document : *documents) {
    if (absl::Status status = reader.Add(document); !status.ok()) return status;
  }
  return reader.Take();
}

}  // namespace muster::cli
