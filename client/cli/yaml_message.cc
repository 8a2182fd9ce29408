#include "client/cli/yaml_message.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/duration.pb.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/duration_text.h"
#include "base/text.h"
#include "client/cli/parse.h"

namespace muster::cli {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::Duration;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using google::protobuf::Reflection;

std::string Join(std::string_view path, std::string_view key) {
  return absl::StrCat(base::Av(path), path.empty() ? "" : ".", base::Av(key));
}

bool IsDuration(const FieldDescriptor& field) {
  return field.message_type() == Duration::descriptor();
}

// Nothing between braces stands for a message with no field set, but not for a duration.
bool IsSection(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !IsDuration(field);
}

std::vector<std::string> EnumNames(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) names.push_back(type.value(i)->name());
  }
  return names;
}

std::string AllowedOne(const FieldDescriptor& field, YamlBytes bytes) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return IsDuration(field) ? "a duration such as 250ms, 30s, 1h30m" : "a section of keys";
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrJoin(EnumNames(*field.enum_type()), ", ");
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true, false";
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return "a number";
    case FieldDescriptor::CPPTYPE_UINT32:
      return "a whole number from 0 to 4294967295";
    case FieldDescriptor::CPPTYPE_UINT64:
      return "a whole number from 0 to 18446744073709551615";
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
      return "a whole number";
    default:
      return field.type() == FieldDescriptor::TYPE_BYTES && bytes == YamlBytes::kBase64
                 ? "bytes as base64"
                 : "a text";
  }
}

std::string Given(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kList:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a section of keys";
    case YamlNode::Kind::kScalar:
      break;
  }
  return base::Quoted(node.scalar);
}

// Digits only: no sign, no blanks.
template <typename Number>
bool ParseWhole(const std::string& text, Number* number) {
  const bool sign = std::numeric_limits<Number>::is_signed && absl::StartsWith(text, "-");
  const size_t at = text.find_first_not_of("0123456789", sign ? 1 : 0);
  return at == std::string::npos && absl::SimpleAtoi(text, number);
}

const EnumValueDescriptor* FindEnum(const EnumDescriptor& type, const std::string& text) {
  for (int i = 0; i < type.value_count(); ++i) {
    const EnumValueDescriptor* value = type.value(i);
    if (value->number() != 0 && absl::EqualsIgnoreCase(value->name(), text)) return value;
  }
  return nullptr;
}

// Sets a field, or adds to it when it is a list.
class ValueSetter {
 public:
  ValueSetter(Message& message, const FieldDescriptor& field, YamlBytes bytes)
      : message_(message), field_(field), reflection_(*message.GetReflection()), bytes_(bytes) {}

  // False: the text is no value of the field. REQUIRES: the field is no section.
  bool Set(const std::string& text) {
    switch (field_.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        return SetString(text);
      case FieldDescriptor::CPPTYPE_BOOL:
        if (text != "true" && text != "false") return false;
        return Put(text == "true", &Reflection::SetBool, &Reflection::AddBool);
      case FieldDescriptor::CPPTYPE_UINT32:
        return PutWhole(text, &Reflection::SetUInt32, &Reflection::AddUInt32);
      case FieldDescriptor::CPPTYPE_UINT64:
        return PutWhole(text, &Reflection::SetUInt64, &Reflection::AddUInt64);
      case FieldDescriptor::CPPTYPE_INT32:
        return PutWhole(text, &Reflection::SetInt32, &Reflection::AddInt32);
      case FieldDescriptor::CPPTYPE_INT64:
        return PutWhole(text, &Reflection::SetInt64, &Reflection::AddInt64);
      case FieldDescriptor::CPPTYPE_DOUBLE:
      case FieldDescriptor::CPPTYPE_FLOAT:
        return SetFraction(text);
      case FieldDescriptor::CPPTYPE_ENUM: {
        const EnumValueDescriptor* value = FindEnum(*field_.enum_type(), text);
        return value != nullptr && Put(value, &Reflection::SetEnum, &Reflection::AddEnum);
      }
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return SetDurationText(text);
    }
    return false;
  }

  // REQUIRES: the field is a message.
  Message& Section() {
    return field_.is_repeated() ? *reflection_.AddMessage(&message_, &field_)
                                : *reflection_.MutableMessage(&message_, &field_);
  }

 private:
  template <typename Value, typename Set, typename Add>
  bool Put(Value value, Set set, Add add) {
    if (field_.is_repeated()) {
      (reflection_.*add)(&message_, &field_, value);
    } else {
      (reflection_.*set)(&message_, &field_, value);
    }
    return true;
  }

  template <typename Number>
  bool PutWhole(const std::string& text,
                void (Reflection::*set)(Message*, const FieldDescriptor*, Number) const,
                void (Reflection::*add)(Message*, const FieldDescriptor*, Number) const) {
    Number number = 0;
    return ParseWhole(text, &number) && Put(number, set, add);
  }

  bool SetFraction(const std::string& text) {
    double number = 0;
    if (!absl::SimpleAtod(text, &number) || !std::isfinite(number)) return false;
    if (field_.cpp_type() == FieldDescriptor::CPPTYPE_FLOAT) {
      return Put(static_cast<float>(number), &Reflection::SetFloat, &Reflection::AddFloat);
    }
    return Put(number, &Reflection::SetDouble, &Reflection::AddDouble);
  }

  bool SetString(std::string text) {
    if (field_.type() == FieldDescriptor::TYPE_BYTES) {
      std::string bytes;
      if (bytes_ == YamlBytes::kBase64) {
        if (!absl::Base64Unescape(text, &bytes)) return false;
        text = std::move(bytes);
      }
    } else if (!base::IsUtf8(text)) {
      return false;
    }
    if (field_.is_repeated()) {
      reflection_.AddString(&message_, &field_, std::move(text));
    } else {
      reflection_.SetString(&message_, &field_, std::move(text));
    }
    return true;
  }

  bool SetDurationText(const std::string& text) {
    const auto duration = base::ParseDuration(text);
    if (!duration.ok()) return false;
    SetDuration(*duration, dynamic_cast<Duration*>(&Section()));
    return true;
  }

  Message& message_;
  const FieldDescriptor& field_;
  const Reflection& reflection_;
  const YamlBytes bytes_;
};

class MessageReader {
 public:
  MessageReader(std::string_view source, YamlBytes bytes) : source_(source), bytes_(bytes) {}

  absl::Status Section(const YamlNode& map, const std::string& path,
                       absl::Span<const YamlTarget> targets) {
    if (map.kind == YamlNode::Kind::kNull) return absl::OkStatus();  // all its keys have gone
    if (map.kind != YamlNode::Kind::kMap) {
      return At(map, absl::StrCat(path.empty() ? "this" : base::Quoted(path), " is ", Given(map),
                                  "; allowed: a section of keys"));
    }
    std::set<const FieldDescriptor*> seen;
    std::map<const OneofDescriptor*, const FieldDescriptor*> kinds;
    for (size_t i = 0; i + 1 < map.items.size(); i += 2) {
      const YamlNode& key = map.items[i];
      if (key.kind != YamlNode::Kind::kScalar) {
        return At(key, absl::StrCat("a key is ", Given(key), "; allowed: a text"));
      }
      const auto [message, field] = Find(key.scalar, targets);
      if (field == nullptr) return At(key, UnknownKey(path, key.scalar, targets));
      if (!seen.insert(field).second) {
        return At(key, absl::StrCat(base::Quoted(Join(path, field->name())), " is given twice"));
      }
      if (const OneofDescriptor* kind = field->real_containing_oneof()) {
        const auto [other, is_new] = kinds.emplace(kind, field);
        if (!is_new) {
          return At(key, absl::StrCat(base::Quoted(Join(path, field->name())), " and ",
                                      base::Quoted(Join(path, other->second->name())),
                                      " are both given; allowed: one of them"));
        }
      }
      absl::Status status =
          Field(key.line, map.items[i + 1], Join(path, field->name()), *message, *field);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  struct Found {
    Message* message;
    const FieldDescriptor* field;
  };

  static bool Takes(const YamlTarget& target, const FieldDescriptor& field) {
    return target.fields.empty() || std::find(target.fields.begin(), target.fields.end(),
                                              field.name()) != target.fields.end();
  }

  static Found Find(const std::string& key, absl::Span<const YamlTarget> targets) {
    for (const YamlTarget& target : targets) {
      const Descriptor& type = *target.message->GetDescriptor();
      for (int i = 0; i < type.field_count(); ++i) {
        const FieldDescriptor* field = type.field(i);
        if (field->name() != key && field->json_name() != key) continue;
        if (Takes(target, *field)) return {target.message, field};
      }
    }
    return {nullptr, nullptr};
  }

  static std::string UnknownKey(const std::string& path, const std::string& key,
                                absl::Span<const YamlTarget> targets) {
    std::vector<std::string_view> known;
    for (const YamlTarget& target : targets) {
      const Descriptor& type = *target.message->GetDescriptor();
      for (int i = 0; i < type.field_count(); ++i) {
        if (Takes(target, *type.field(i))) known.push_back(type.field(i)->name());
      }
    }
    const std::string nearest = base::NearestName(key, known);
    std::vector<std::string> names(known.begin(), known.end());
    return absl::StrCat("unknown key ", base::Quoted(Join(path, key)),
                        nearest.empty()
                            ? absl::StrCat("; allowed: ", absl::StrJoin(names, ", "))
                            : absl::StrCat("; did you mean ", base::Quoted(nearest), "?"));
  }

  absl::Status At(const YamlNode& node, std::string_view what) const {
    return YamlError(source_, node.line, what);
  }

  absl::Status Wrong(int line, const std::string& path, const YamlNode& value,
                     const std::string& allowed) const {
    return YamlError(
        source_, line,
        absl::StrCat(base::Quoted(path), " is ", Given(value), "; allowed: ", allowed));
  }

  absl::Status Field(int line, const YamlNode& value, const std::string& path, Message& message,
                     const FieldDescriptor& field) {
    if (field.is_map()) return Map(line, value, path, message, field);
    if (!field.is_repeated()) return Value(line, value, path, message, field);
    if (value.kind == YamlNode::Kind::kNull) return absl::OkStatus();
    if (value.kind != YamlNode::Kind::kList) {
      return Wrong(line, path, value, absl::StrCat("a list, each ", AllowedOne(field, bytes_)));
    }
    for (size_t i = 0; i < value.items.size(); ++i) {
      const YamlNode& item = value.items[i];
      const std::string at = absl::StrCat(path, "[", i, "]");
      if (item.kind == YamlNode::Kind::kNull) {
        // Its own line would be that of what comes next.
        return Wrong(line, at, item, AllowedOne(field, bytes_));
      }
      if (auto status = Value(item.line, item, at, message, field); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // One value: of the field, or of its list.
  absl::Status Value(int line, const YamlNode& value, const std::string& path, Message& message,
                     const FieldDescriptor& field) {
    ValueSetter setter(message, field, bytes_);
    if (IsSection(field)) return Section(value, path, {YamlTarget{&setter.Section()}});
    if (value.kind == YamlNode::Kind::kScalar && setter.Set(value.scalar)) return absl::OkStatus();
    return Wrong(line, path, value, AllowedOne(field, bytes_));
  }

  absl::Status Map(int line, const YamlNode& value, const std::string& path, Message& message,
                   const FieldDescriptor& field) {
    if (value.kind == YamlNode::Kind::kNull) return absl::OkStatus();
    if (value.kind != YamlNode::Kind::kMap) {
      return Wrong(line, path, value, "a section of names and values");
    }
    const FieldDescriptor& key_field = *field.message_type()->FindFieldByNumber(1);
    const FieldDescriptor& value_field = *field.message_type()->FindFieldByNumber(2);
    std::set<std::string> seen;
    for (size_t i = 0; i + 1 < value.items.size(); i += 2) {
      const YamlNode& key = value.items[i];
      Message& entry = *message.GetReflection()->AddMessage(&message, &field);
      if (auto status = Value(key.line, key, path + " (a name)", entry, key_field); !status.ok()) {
        return status;
      }
      const std::string full = Join(path, key.scalar);
      if (!seen.insert(key.scalar).second) {
        return At(key, absl::StrCat(base::Quoted(full), " is given twice"));
      }
      if (auto status = Value(key.line, value.items[i + 1], full, entry, value_field);
          !status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  }

  const std::string_view source_;
  const YamlBytes bytes_;
};

}  // namespace

absl::Status ReadYamlMessage(const YamlNode& map, std::string_view source, YamlBytes bytes,
                             absl::Span<const YamlTarget> targets) {
  return MessageReader(source, bytes).Section(map, "", targets);
}

}  // namespace muster::cli
