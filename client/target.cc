#include "muster/client/target.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/errors.h"
#include "base/names.h"
#include "base/net_address.h"
#include "base/text.h"
#include "client/consul_name.h"
#include "client/target_query.h"

namespace muster::client {
namespace {

using base::Av;
using base::Quoted;

constexpr size_t kMaxTarget = 2048;

struct Scheme {
  std::string_view name;
  uint16_t port;  // where a URL gives none; 0 = there is no usual one
};
constexpr std::array kSchemes = {
    Scheme{"amqp", 5672},       Scheme{"amqps", 5671}, Scheme{"grpc", 0},
    Scheme{"grpcs", 443},       Scheme{"http", 80},    Scheme{"https", 443},
    Scheme{"mongodb", 27017},   Scheme{"mqtt", 1883},  Scheme{"mqtts", 8883},
    Scheme{"mysql", 3306},      Scheme{"nats", 4222},  Scheme{"postgres", 5432},
    Scheme{"postgresql", 5432}, Scheme{"redis", 6379}, Scheme{"rediss", 6380},
    Scheme{"tcp", 0},           Scheme{"ws", 80},      Scheme{"wss", 443},
};

absl::Status Malformed(std::string_view text, std::string_view problem) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kNameInvalid,
                         absl::StrCat(Quoted(text), " ", Av(problem)));
}

absl::Status UnknownScheme(std::string_view text, std::string_view scheme) {
  std::vector<std::string_view> known = {"muster", "dns", "static"};
  for (const Scheme& one : kSchemes) known.push_back(one.name);
  const auto words = absl::StrJoin(
      known, ", ", [](std::string* out, std::string_view name) { absl::StrAppend(out, Av(name)); });
  return Malformed(text,
                   absl::StrCat("has the unknown scheme ", Quoted(scheme), "; allowed: ", words));
}

absl::Status CheckCharacters(std::string_view text) {
  if (text.empty()) {
    return base::MakeError(absl::StatusCode::kInvalidArgument, base::Reason::kNameInvalid,
                           "the target is empty; allowed: a service's name, "
                           "NAME.service.consul, SCHEME://NAME:PORT/PATH, muster:///NAME, "
                           "dns:///HOST:PORT, static:///HOST:PORT,HOST:PORT");
  }
  if (text.size() > kMaxTarget) {
    return Malformed(text, absl::StrCat("has ", text.size(), " bytes; at most ", kMaxTarget));
  }
  const auto bad = std::find_if(text.begin(), text.end(), [](char c) {
    return absl::ascii_iscntrl(static_cast<unsigned char>(c)) || c == ' ';
  });
  if (bad != text.end()) {
    const auto at = static_cast<size_t>(bad - text.begin());
    return Malformed(text, absl::StrCat("contains ", base::CharacterAt(text, at)));
  }
  if (!base::IsPrintableUtf8(text)) return Malformed(text, "is not printable UTF-8");
  return absl::OkStatus();
}

// "host", "host:port", "[IPv6]", "[IPv6]:port"; no port = 0. `text` is quoted in errors.
absl::StatusOr<Address> SplitHostPort(std::string_view text, std::string_view part) {
  if (part.empty() || part.front() == ':') return Malformed(text, "has no host");
  const bool has_port = part.find(':', part.starts_with('[') ? part.find(']') : 0) != part.npos;
  if (!has_port && !part.starts_with('[')) return Address{std::string(part), 0};
  const auto parsed =
      base::ParseHostPort(has_port ? std::string(part) : absl::StrCat(Av(part), ":1"));
  if (!parsed.ok() || parsed->port == 0) {
    return Malformed(text, absl::StrCat("has ", Quoted(part),
                                        " where a host stands; allowed: HOST, HOST:PORT, [IPV6], "
                                        "[IPV6]:PORT, with a port from 1 to 65535"));
  }
  return Address{parsed->host, has_port ? parsed->port : uint16_t{0}};
}

absl::Status CheckHost(std::string_view text, std::string_view host) {
  const base::IpKind kind = base::KindOfIp(host);
  if (kind == base::IpKind::kUnspecified) {
    return Malformed(text, absl::StrCat("has ", Quoted(host), ", which nothing can connect to"));
  }
  if (kind != base::IpKind::kNone) return absl::OkStatus();
  const std::string problem = base::HostNameProblem(host);
  if (problem.empty()) return absl::OkStatus();
  return Malformed(text, absl::StrCat("has a host that ", problem));
}

absl::StatusOr<Target> OfService(Address dns) {
  Target out;
  out.query.service = base::Sv(absl::StripSuffix(dns.host, "."));
  if (auto s = base::CheckName("service name", out.query.service); !s.ok()) return s;
  out.dns = std::move(dns);
  return out;
}

// What stands where a host would: a service, unless it is an address or a name of another kind.
absl::StatusOr<Target> OfHost(std::string_view text, Address at) {
  Target out;
  if (base::IsIpLiteral(at.host)) {
    if (auto s = CheckHost(text, at.host); !s.ok()) return s;
    if (at.port == 0) return Malformed(text, "is an address without a port");
    out.kind = Target::Kind::kStatic;
    out.addresses.push_back(std::move(at));
    return out;
  }
  if (absl::EqualsIgnoreCase(at.host, "localhost")) {
    out.kind = Target::Kind::kDns;
    out.dns = std::move(at);
    return out;
  }
  if (!IsConsulName(at.host)) return OfService(std::move(at));
  auto query = ParseConsulName(at.host);
  if (!query.ok()) return query.status();
  out.query = *std::move(query);
  out.dns = std::move(at);
  return out;
}

absl::StatusOr<Target> ParseUrl(std::string_view text, const Scheme& scheme) {
  const size_t begin = scheme.name.size() + 3;
  const size_t end = std::min(text.find_first_of("/?#", begin), text.size());
  const std::string_view authority = text.substr(begin, end - begin);
  const size_t at = authority.rfind('@');
  const size_t user = at == std::string_view::npos ? 0 : at + 1;
  auto host = SplitHostPort(text, authority.substr(user));
  if (!host.ok()) return host.status();
  if (host->port == 0) host->port = scheme.port;
  auto out = OfHost(text, *host);
  if (!out.ok()) return out;
  // A tag may hold what a host may not, and what is found is written in its place with a port.
  const base::HostPort written = {host->host, std::max(host->port, uint16_t{1})};
  if (auto again = SplitHostPort(text, base::FormatHostPort(written)); !again.ok()) {
    return again.status();
  }
  out->before = text.substr(0, begin + user);
  out->after = text.substr(end);
  return out;
}

// What stands after ":///". Between the slashes a URL names a server; of these none is asked.
absl::StatusOr<std::string_view> PathOf(std::string_view text, std::string_view form) {
  const std::string_view rest = text.substr(text.find("://") + 3);
  const std::string_view server = rest.substr(0, rest.find('/'));
  if (!server.empty()) {
    return Malformed(text, absl::StrCat("has ", Quoted(server),
                                        " where nothing may stand; allowed: ", Av(form)));
  }
  if (rest.size() > 1) return rest.substr(1);
  return Malformed(text, absl::StrCat("names nothing; allowed: ", Av(form)));
}

absl::StatusOr<Target> ParseMuster(std::string_view text) {
  const auto path = PathOf(text, "muster:///NAME, muster:///NAME?tag=TAG&zone=ZONE");
  if (!path.ok()) return path.status();
  const size_t question = std::min(path->find('?'), path->size());
  auto host = SplitHostPort(text, path->substr(0, question));
  if (!host.ok()) return host.status();
  auto out = OfService(*std::move(host));
  if (!out.ok() || question == path->size()) return out;
  if (auto s = ReadQuery(path->substr(question + 1), out->query); !s.ok()) {
    return Malformed(text, base::Sv(s.message()));
  }
  return out;
}

absl::StatusOr<Target> ParseDns(std::string_view text) {
  const auto path = PathOf(text, "dns:///HOST:PORT");
  if (!path.ok()) return path.status();
  auto host = SplitHostPort(text, *path);
  if (!host.ok()) return host.status();
  if (auto s = CheckHost(text, host->host); !s.ok()) return s;
  Target out;
  out.kind = Target::Kind::kDns;
  out.dns = *std::move(host);
  return out;
}

absl::StatusOr<Target> ParseStatic(std::string_view text) {
  const auto path = PathOf(text, "static:///HOST:PORT,HOST:PORT");
  if (!path.ok()) return path.status();
  Target out;
  out.kind = Target::Kind::kStatic;
  for (const absl::string_view part : absl::StrSplit(Av(*path), ',')) {
    auto host = SplitHostPort(text, base::Sv(part));
    if (!host.ok()) return host.status();
    if (auto s = CheckHost(text, host->host); !s.ok()) return s;
    if (host->port == 0) {
      return Malformed(text, absl::StrCat("has ", Quoted(host->host), " without a port"));
    }
    out.addresses.push_back(*std::move(host));
  }
  return out;
}

}  // namespace

std::string Target::Url(std::string_view host, uint16_t port) const {
  std::string at =
      absl::StrContains(Av(host), ':') ? absl::StrCat("[", Av(host), "]") : std::string(host);
  if (port != 0) absl::StrAppend(&at, ":", port);
  return absl::StrCat(before, at, after);
}

absl::StatusOr<Target> ParseTarget(std::string_view text) {
  if (auto s = CheckCharacters(text); !s.ok()) return s;
  const size_t colon = text.find("://");
  if (colon == std::string_view::npos) {
    if (const size_t at = text.find_first_of("/?#@"); at != std::string_view::npos) {
      return Malformed(text,
                       absl::StrCat("contains ", base::CharacterAt(text, at),
                                    "; what has more than a name and a port begins with a "
                                    "scheme, as in http://NAME/PATH or muster:///NAME?tag=TAG"));
    }
    auto host = SplitHostPort(text, text);
    if (!host.ok()) return host.status();
    return OfHost(text, *std::move(host));
  }
  const std::string scheme = base::AsciiLower(text.substr(0, colon));
  if (scheme == "muster") return ParseMuster(text);
  if (scheme == "dns") return ParseDns(text);
  if (scheme == "static") return ParseStatic(text);
  const auto known = std::find_if(kSchemes.begin(), kSchemes.end(),
                                  [&](const Scheme& one) { return one.name == scheme; });
  return known == kSchemes.end() ? UnknownScheme(text, text.substr(0, colon))
                                 : ParseUrl(text, *known);
}

}  // namespace muster::client
