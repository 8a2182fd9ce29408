#include "client/cli/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace muster::cli {
namespace {

constexpr size_t kMaxDepth = 16;
constexpr size_t kMaxNodes = 100'000;

// Makes a tree of what the parser finds; throws what the parser throws.
class TreeBuilder : public YAML::EventHandler {
 public:
  YamlNode TakeDocument() { return std::exchange(document_, YamlNode()); }
  const YAML::Mark& start() const { return start_; }

  void OnDocumentStart(const YAML::Mark& mark) override { start_ = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    Add(Node(YamlNode::Kind::kNull, mark));
  }
  // What it stands for could be as large as its text squared.
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw YAML::ParserException(mark, "an alias (*name) is not allowed; write out what it is");
  }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                const std::string& value) override {
    YamlNode node = Node(YamlNode::Kind::kScalar, mark);
    node.scalar = value;
    Add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    Open(Node(YamlNode::Kind::kList, mark), mark);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    Open(Node(YamlNode::Kind::kMap, mark), mark);
  }
  void OnMapEnd() override { Close(); }

 private:
  YamlNode Node(YamlNode::Kind kind, const YAML::Mark& mark) {
    if (++nodes_ > kMaxNodes) {
      throw YAML::ParserException(mark, absl::StrCat("more than ", kMaxNodes, " values"));
    }
    YamlNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    return node;
  }
  void Open(YamlNode node, const YAML::Mark& mark) {
    if (open_.size() == kMaxDepth) {
      throw YAML::ParserException(mark, absl::StrCat("more than ", kMaxDepth, " levels"));
    }
    open_.push_back(std::move(node));
  }
  void Close() {
    YamlNode node = std::move(open_.back());
    open_.pop_back();
    Add(std::move(node));
  }
  void Add(YamlNode node) {
    if (open_.empty()) {
      document_ = std::move(node);
    } else {
      open_.back().items.push_back(std::move(node));
    }
  }

  YAML::Mark start_;
  YamlNode document_;
  std::vector<YamlNode> open_;
  size_t nodes_ = 0;
};

absl::StatusOr<std::vector<YamlNode>> Read(const std::string& text, std::string_view source) {
  std::istringstream in(text);
  YAML::Parser parser(in);
  TreeBuilder builder;
  std::vector<YamlNode> documents;
  int last_start = -1;
  for (size_t count = 0; parser.HandleNextDocument(builder); ++count) {
    const int line = builder.start().line + 1;
    // The parser would make documents of a stray "," or "]" for ever.
    if (builder.start().pos == last_start) {
      return YamlError(source, line, "belongs to no document");
    }
    last_start = builder.start().pos;
    YamlNode document = builder.TakeDocument();
    if (document.kind == YamlNode::Kind::kNull) continue;
    if (documents.size() == kMaxYamlDocuments) {
      return YamlError(source, line, absl::StrCat("more than ", kMaxYamlDocuments, " documents"));
    }
    documents.push_back(std::move(document));
  }
  return documents;
}

}  // namespace

absl::Status YamlError(std::string_view source, int line, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(base::EscapeForTerminal(source),
                                                 line > 0 ? absl::StrCat(":", line) : "", ": ",
                                                 base::EscapeForTerminal(what)));
}

absl::StatusOr<std::vector<YamlNode>> ReadYaml(const std::string& text, std::string_view source) {
  if (text.size() > kMaxYamlBytes) {
    return YamlError(source, 0, absl::StrCat("has more than ", kMaxYamlBytes, " bytes"));
  }
  if (!base::IsUtf8(text)) return YamlError(source, 0, "is not UTF-8");
  try {
    return Read(text, source);
  } catch (const YAML::Exception& e) {
    return YamlError(source, e.mark.is_null() ? 0 : e.mark.line + 1,
                     absl::StrCat("is no YAML: ", e.msg));
  }
}

}  // namespace muster::cli
