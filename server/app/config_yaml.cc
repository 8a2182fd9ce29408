#include "server/app/config_yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <sstream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/errors.h"
#include "base/text.h"

namespace muster::app {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

absl::Status ConfigError(std::string_view message) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kInvalidField, message);
}

std::string Join(std::string_view path, std::string_view key) {
  return absl::StrCat(base::Av(path), path.empty() ? "" : ".", base::Av(key));
}

std::string Quoted(std::string_view text) {
  return absl::StrCat("\"", base::EscapeForTerminal(text.substr(0, 128)), "\"");
}

absl::string_view AllowedValue(const FieldDescriptor& field) {
  if (field.is_repeated()) return "a list of texts";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "a section of keys";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true, false";
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "a number";
    case FieldDescriptor::CPPTYPE_UINT32:
      return "a whole number from 0 to 4294967295";
    case FieldDescriptor::CPPTYPE_UINT64:
      return "a whole number from 0 to 18446744073709551615";
    default:
      return "a text";
  }
}

bool IsDigits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// False when the text is no value of the field.
bool SetScalar(std::string_view text, const FieldDescriptor& field, Message& message) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  uint32_t number32 = 0;
  uint64_t number64 = 0;
  double number = 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      reflection.SetString(&message, &field, std::string(text));
      return true;
    case FieldDescriptor::CPPTYPE_BOOL:
      if (text != "true" && text != "false") return false;
      reflection.SetBool(&message, &field, text == "true");
      return true;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      if (!absl::SimpleAtod(base::Av(text), &number) || !std::isfinite(number)) return false;
      reflection.SetDouble(&message, &field, number);
      return true;
    case FieldDescriptor::CPPTYPE_UINT32:
      if (!IsDigits(text) || !absl::SimpleAtoi(base::Av(text), &number32)) return false;
      reflection.SetUInt32(&message, &field, number32);
      return true;
    case FieldDescriptor::CPPTYPE_UINT64:
      if (!IsDigits(text) || !absl::SimpleAtoi(base::Av(text), &number64)) return false;
      reflection.SetUInt64(&message, &field, number64);
      return true;
    default:
      return false;
  }
}

std::string UnknownKey(std::string_view path, std::string_view key, const Message& message) {
  std::vector<std::string_view> known;
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    known.push_back(message.GetDescriptor()->field(i)->name());
  }
  const std::string nearest = base::NearestName(key, known);
  const std::string hint =
      nearest.empty()
          ? absl::StrCat("allowed: ", absl::StrJoin(known, ", ",
                                                    [](std::string* out, std::string_view name) {
                                                      out->append(name);
                                                    }))
          : absl::StrCat("did you mean ", Quoted(Join(path, nearest)), "?");
  return absl::StrCat("unknown key ", Quoted(Join(path, key)), "; ", hint);
}

class YamlReader {
 public:
  explicit YamlReader(std::string_view source) : source_(source) {}

  absl::Status Section(const YAML::Node& node, std::string_view path, Message& message) {
    if (node.IsNull()) return absl::OkStatus();  // all its keys are commented out
    if (!node.IsMap()) {
      return At(node, absl::StrCat(path.empty() ? "the file" : Quoted(path),
                                   " has the wrong type; allowed: a section of keys"));
    }
    std::set<std::string> seen;
    for (const auto& entry : node) {
      if (!entry.first.IsScalar())
        return At(entry.first, "a key has the wrong type; allowed: a text");
      const std::string key = entry.first.Scalar();
      if (!seen.insert(key).second) {
        return At(entry.first, absl::StrCat("key ", Quoted(Join(path, key)), " is given twice"));
      }
      const absl::Status status = Entry(entry.first, entry.second, path, message);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status At(const YAML::Mark& mark, std::string_view what) const {
    return ConfigError(absl::StrCat(source_, mark.line >= 0 ? absl::StrCat(":", mark.line + 1) : "",
                                    ": ", base::Av(what)));
  }
  absl::Status At(const YAML::Node& node, std::string_view what) const {
    return At(node.Mark(), what);
  }

 private:
  absl::Status Entry(const YAML::Node& key, const YAML::Node& value, std::string_view path,
                     Message& message) {
    const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(key.Scalar());
    if (field == nullptr) return At(key, UnknownKey(path, key.Scalar(), message));
    const std::string full = Join(path, key.Scalar());
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      return Section(value, full, *message.GetReflection()->MutableMessage(&message, field));
    }
    if (field->is_repeated()) {
      if (SetList(value, *field, message)) return absl::OkStatus();
    } else if (value.IsScalar() && SetScalar(value.Scalar(), *field, message)) {
      return absl::OkStatus();
    }
    const std::string given = value.IsScalar()     ? Quoted(value.Scalar())
                              : value.IsNull()     ? "nothing"
                              : value.IsSequence() ? "a list"
                                                   : "a section of keys";
    return At(key, absl::StrCat(Quoted(full), " is ", given, "; allowed: ", AllowedValue(*field)));
  }

  // False when it is no list of texts.
  static bool SetList(const YAML::Node& list, const FieldDescriptor& field, Message& message) {
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    reflection.ClearField(&message, &field);
    if (list.IsNull()) return true;
    if (!list.IsSequence()) return false;
    for (const YAML::Node& item : list) {
      if (!item.IsScalar()) return false;
      reflection.AddString(&message, &field, item.Scalar());
    }
    return true;
  }

  const std::string source_;
};

// Where a document of a text begins; takes nothing else in.
class DocumentStart : public YAML::EventHandler {
 public:
  const YAML::Mark& mark() const { return mark_; }

  void OnDocumentStart(const YAML::Mark& mark) override { mark_ = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

 private:
  YAML::Mark mark_;
};

// Where a second document begins, or what belongs to none. YAML::LoadAll would make documents of a
// stray "," until the memory is used up.
std::optional<YAML::Mark> SecondDocument(const std::string& text) {
  std::istringstream in(text);
  YAML::Parser parser(in);
  DocumentStart first, second;
  if (!parser.HandleNextDocument(first) || !parser.HandleNextDocument(second)) return std::nullopt;
  return second.mark();
}

// The shortest text that reads back as the same number.
std::string NumberText(double number) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), number).ptr;
  return std::string(text, end);
}

void EmitSection(const Message& message, YAML::Emitter& out);

void EmitValue(const Message& message, const FieldDescriptor& field, YAML::Emitter& out) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  if (field.is_repeated()) {
    out << YAML::Flow << YAML::BeginSeq;
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      out << YAML::DoubleQuoted << reflection.GetRepeatedString(message, &field, i);
    }
    out << YAML::EndSeq;
    return;
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return EmitSection(reflection.GetMessage(message, &field), out);
    case FieldDescriptor::CPPTYPE_BOOL:
      out << (reflection.GetBool(message, &field) ? "true" : "false");
      return;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      out << NumberText(reflection.GetDouble(message, &field));
      return;
    case FieldDescriptor::CPPTYPE_UINT32:
      out << reflection.GetUInt32(message, &field);
      return;
    case FieldDescriptor::CPPTYPE_UINT64:
      out << reflection.GetUInt64(message, &field);
      return;
    default:
      out << YAML::DoubleQuoted << reflection.GetString(message, &field);
  }
}

void EmitSection(const Message& message, YAML::Emitter& out) {
  out << YAML::BeginMap;
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    out << YAML::Key << field.name() << YAML::Value;
    EmitValue(message, field, out);
  }
  out << YAML::EndMap;
}

}  // namespace

absl::Status ApplyYaml(std::string_view text, std::string_view source, config::v1::Config& config) {
  YamlReader reader(source);
  try {
    if (const auto second = SecondDocument(std::string(text))) {
      return reader.At(*second, "a second document begins, or what belongs to none; allowed: 1");
    }
    return reader.Section(YAML::Load(std::string(text)), "", config);
  } catch (const YAML::Exception& error) {
    return reader.At(error.mark, absl::StrCat("is no YAML: ", base::EscapeForTerminal(error.msg)));
  }
}

absl::Status ApplyText(std::string_view path, std::string_view text, config::v1::Config& config) {
  Message* message = &config;
  const FieldDescriptor* field = nullptr;
  for (absl::string_view name : absl::StrSplit(base::Av(path), '.')) {
    if (field != nullptr) message = message->GetReflection()->MutableMessage(message, field);
    field = message->GetDescriptor()->FindFieldByName(std::string(name));
  }
  if (SetScalar(text, *field, *message)) return absl::OkStatus();
  return base::WithField(
      ConfigError(absl::StrCat(base::Av(path), ": ", Quoted(text),
                               " is not allowed; allowed: ", AllowedValue(*field))),
      path);
}

std::string ToYaml(const config::v1::Config& config) {
  YAML::Emitter out;
  EmitSection(config, out);
  return absl::StrCat(out.c_str(), "\n");
}

}  // namespace muster::app
