// TLS, client certificates and tokens on real processes, with certificates made on the spot.
#include <grpcpp/security/auth_context.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/scenario/abuse.h"
#include "tests/scenario/certificates.h"
#include "tests/support/process.h"
#include "tests/support/remote.h"

namespace muster::test {
namespace {

using grpc::StatusCode;

constexpr char kReader[] = "reader-0123456789";
constexpr char kWriter[] = "writer-0123456789";

class Security : public testing::Test {
 protected:
  void SetUp() override {
    authority_.Issue("server");
    authority_.Issue("client");
    WriteText(tokens_, std::string("read ") + kReader + "\nwrite " + kWriter + "\n");
  }
  std::vector<std::string> Tls() const {
    return {"--tls-cert", authority_.cert("server"), "--tls-key", authority_.key("server")};
  }
  std::vector<std::string> With(std::vector<std::string> flags, const std::string& flag,
                                const std::string& value) const {
    flags.insert(flags.end(), {flag, value});
    return flags;
  }

  // A new connection each.
  std::shared_ptr<grpc::Channel> Connect(const Musterd& server, bool certificate = false) const {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = ReadText(authority_.ca());
    if (certificate) {
      options.pem_cert_chain = ReadText(authority_.cert("client"));
      options.pem_private_key = ReadText(authority_.key("client"));
    }
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(server.address(), grpc::SslCredentials(options), arguments);
  }
  static void Prepare(grpc::ClientContext& context, const std::string& token) {
    context.set_deadline(absl::ToChronoTime(Now() + absl::Seconds(20)));
    if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
  }
  static grpc::Status Discover(const std::shared_ptr<grpc::Channel>& channel,
                               const std::string& token = "", std::string* common_name = nullptr) {
    grpc::ClientContext context;
    Prepare(context, token);
    v1::DiscoverRequest request;
    request.set_service("web");
    v1::DiscoverResponse response;
    const auto stub = v1::Discovery::NewStub(channel);
    const grpc::Status status = stub->Discover(&context, request, &response);
    if (common_name != nullptr && context.auth_context() != nullptr) {
      const auto names = context.auth_context()->FindPropertyValues(GRPC_X509_CN_PROPERTY_NAME);
      if (!names.empty()) *common_name = std::string(names[0].data(), names[0].size());
    }
    return status;
  }
  static grpc::Status Register(const std::shared_ptr<grpc::Channel>& channel,
                               const std::string& token = "") {
    grpc::ClientContext context;
    Prepare(context, token);
    v1::RegisterRequest request;
    request.mutable_instance()->set_service("web");
    request.mutable_instance()->set_id("w-1");
    request.mutable_instance()->set_address("10.0.0.1");
    v1::RegisterResponse response;
    return v1::Registry::NewStub(channel)->Register(&context, request, &response);
  }
  // The end of a watch, or OK once its snapshot is there.
  static grpc::Status Watch(const std::shared_ptr<grpc::Channel>& channel,
                            const std::string& token) {
    grpc::ClientContext context;
    Prepare(context, token);
    const auto stub = v1::Discovery::NewStub(channel);
    const auto watch = stub->Watch(&context);
    v1::WatchRequest request;
    request.mutable_subscribe()->set_service("web");
    watch->Write(request);
    v1::WatchResponse event;
    const bool answered = watch->Read(&event);
    if (answered) context.TryCancel();
    const grpc::Status status = watch->Finish();
    return answered ? grpc::Status::OK : status;
  }

  // Exit code and what it said of a musterd that does not start.
  std::pair<std::optional<int>, std::string> Refused(std::vector<std::string> flags) {
    flags.insert(flags.begin(),
                 {BinDir() + "/musterd", "--data-dir", dir_.path("refused"), "--http-listen", "off",
                  "--dns-listen", "off", "--storage", "memory"});
    const std::string said = dir_.path("refused.log");
    WriteText(said, "");
    Process server(flags, said);
    const auto code = server.Wait();
    return {code, ReadText(said)};
  }
  void ExpectRefused(const std::vector<std::string>& flags, const std::vector<std::string>& parts) {
    const auto [code, said] = Refused(flags);
    EXPECT_EQ(code, 1) << said;
    for (const std::string& part : parts) {
      EXPECT_TRUE(absl::StrContains(said, part)) << "\"" << part << "\" is not in: " << said;
    }
  }
  std::pair<std::optional<int>, std::string> Cli(const std::vector<std::string>& words) {
    std::vector<std::string> argv = {BinDir() + "/muster"};
    argv.insert(argv.end(), words.begin(), words.end());
    const std::string said = dir_.path("cli.log");
    WriteText(said, "");
    Process cli(argv, said);
    std::string out;
    while (const auto line = cli.ReadLine()) out += *line + "\n";
    const auto code = cli.Wait();
    return {code, out + ReadText(said)};
  }

  TempDir dir_;
  Authority authority_{dir_.path("authority")};
  const std::string tokens_ = dir_.path("tokens");
};

TEST_F(Security, TlsServesThoseWhoTrustItOnly) {
  Musterd server(dir_.path("data"), Tls());
  EXPECT_TRUE(Register(Connect(server)).ok());
  EXPECT_TRUE(Discover(Connect(server)).ok());
  EXPECT_EQ(Discover(NewChannel(server.address())).error_code(), StatusCode::UNAVAILABLE)
      << "without TLS";
  Authority other(dir_.path("other"));
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = ReadText(other.ca());
  EXPECT_EQ(
      Discover(grpc::CreateChannel(server.address(), grpc::SslCredentials(options))).error_code(),
      StatusCode::UNAVAILABLE)
      << "another authority";
  EXPECT_EQ(server.Stop(), 0);
}

TEST_F(Security, AClientAuthorityAsksForCertificates) {
  Musterd server(dir_.path("data"), With(Tls(), "--client-ca", authority_.ca()));
  EXPECT_TRUE(Register(Connect(server, true)).ok());
  EXPECT_EQ(Register(Connect(server, false)).error_code(), StatusCode::UNAVAILABLE);

  // A certificate of somebody else.
  Authority other(dir_.path("other"));
  other.Issue("client");
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = ReadText(authority_.ca());
  options.pem_cert_chain = ReadText(other.cert("client"));
  options.pem_private_key = ReadText(other.key("client"));
  EXPECT_EQ(
      Discover(grpc::CreateChannel(server.address(), grpc::SslCredentials(options))).error_code(),
      StatusCode::UNAVAILABLE);

  const auto [code, said] =
      Cli({"--addr", server.address(), "--ca", authority_.ca(), "--cert", authority_.cert("client"),
           "--key", authority_.key("client"), "discover", "web"});
  EXPECT_EQ(code, 0) << said;
  EXPECT_TRUE(absl::StrContains(said, "w-1")) << said;
  EXPECT_EQ(Cli({"--addr", server.address(), "--ca", authority_.ca(), "discover", "web"}).first, 1);
}

TEST_F(Security, TokensGiveRightsAndAreReadAgain) {
  Musterd server(dir_.path("data"), With(Tls(), "--tokens", tokens_));
  const auto channel = Connect(server);
  const Wanted missing{StatusCode::UNAUTHENTICATED, "TOKEN_MISSING", "", "Bearer TOKEN"};
  const Wanted unknown{StatusCode::UNAUTHENTICATED, "TOKEN_UNKNOWN", "", "token is unknown"};
  const Wanted no_right{StatusCode::PERMISSION_DENIED, "RIGHT_MISSING", "", "right write"};
  const std::string stranger = "stranger-0123456789";
  ExpectError(Discover(channel), missing, "discover without");
  ExpectError(Register(channel), missing, "register without");
  ExpectError(Watch(channel, ""), missing, "watch without");
  ExpectError(Discover(channel, stranger), unknown, "discover");
  ExpectError(Register(channel, stranger), unknown, "register");
  ExpectError(Watch(channel, stranger), unknown, "watch");
  ExpectError(Register(channel, kReader), no_right, "register to read");
  EXPECT_TRUE(Register(channel, kWriter).ok());
  for (const char* token : {kReader, kWriter}) {
    EXPECT_TRUE(Discover(channel, token).ok()) << token;
    EXPECT_TRUE(Watch(channel, token).ok()) << token;
  }

  // A token that is taken out is refused soon, one that is put in is taken.
  WriteText(tokens_, std::string("write ") + kWriter + "\nread " + stranger + "\n");
  EXPECT_TRUE(Eventually([&] { return !Discover(channel, kReader).ok(); }, absl::Seconds(3)));
  ExpectError(Discover(channel, kReader), unknown, "discover with a token taken out");
  EXPECT_TRUE(Discover(channel, stranger).ok());
  // A bad file changes nothing.
  WriteText(tokens_, "nonsense\n");
  EXPECT_FALSE(Eventually([&] { return !Discover(channel, kWriter).ok(); }, absl::Seconds(2)));

  const std::vector<std::string> there = {"--addr", server.address(), "--ca", authority_.ca()};
  const auto cli = [&](std::vector<std::string> words) {
    words.insert(words.begin(), there.begin(), there.end());
    return Cli(words);
  };
  EXPECT_EQ(cli({"--token", kWriter, "register", "db", "10.0.0.2:5432"}).first, 0);
  const auto [found, listed] = cli({"--token", stranger, "discover", "db"});
  EXPECT_EQ(found, 0) << listed;
  EXPECT_TRUE(absl::StrContains(listed, "10.0.0.2")) << listed;
  const auto [denied, why] = cli({"--token", stranger, "register", "db", "10.0.0.3:5432"});
  EXPECT_EQ(denied, 1);
  EXPECT_TRUE(absl::StrContains(why, "RIGHT_MISSING")) << why;
  EXPECT_EQ(cli({"discover", "db"}).first, 1);
}

// Streams that were opened with a token end when it is taken out, or no longer has their right.
TEST_F(Security, OpenStreamsEndWithTheirToken) {
  const std::string other = "other-0123456789";
  WriteText(tokens_, std::string("read ") + kReader + "\nwrite " + kWriter + "\nwrite " + other);
  Musterd server(dir_.path("data"), With(Tls(), "--tokens", tokens_));
  const auto channel = Connect(server);
  const auto discovery = v1::Discovery::NewStub(channel);
  const auto registry = v1::Registry::NewStub(channel);
  ASSERT_TRUE(Register(channel, kWriter).ok());

  grpc::ClientContext watch_context, kept_context, names_context, lease_context;
  Prepare(watch_context, kReader);
  Prepare(kept_context, kWriter);
  Prepare(names_context, kReader);
  Prepare(lease_context, kWriter);
  v1::WatchRequest subscribe;
  subscribe.mutable_subscribe()->set_service("web");
  v1::WatchResponse event;
  const auto watch = discovery->Watch(&watch_context);
  const auto kept = discovery->Watch(&kept_context);
  for (const auto& stream : {watch.get(), kept.get()}) {
    ASSERT_TRUE(stream->Write(subscribe));
    ASSERT_TRUE(stream->Read(&event));
  }
  const auto names = discovery->WatchServices(&names_context, {});
  v1::WatchServicesResponse name;
  ASSERT_TRUE(names->Read(&name));
  const auto leases = registry->KeepAlive(&lease_context);
  v1::HeartbeatRequest beat;
  beat.add_lease_handles(1);
  v1::HeartbeatResponse beaten;
  ASSERT_TRUE(leases->Write(beat));
  ASSERT_TRUE(leases->Read(&beaten));

  WriteText(tokens_, std::string("read ") + kWriter + "\nwrite " + other);
  const absl::Time changed = Now();
  EXPECT_FALSE(watch->Read(&event));
  EXPECT_FALSE(names->Read(&name));
  EXPECT_FALSE(leases->Read(&beaten)) << "an idle stream too";
  EXPECT_LT(Now() - changed, absl::Seconds(4));
  const Wanted unknown{StatusCode::UNAUTHENTICATED, "TOKEN_UNKNOWN", "", "token is unknown"};
  ExpectError(watch->Finish(), unknown, "watch");
  ExpectError(names->Finish(), unknown, "names");
  ExpectError(leases->Finish(), {StatusCode::PERMISSION_DENIED, "RIGHT_MISSING", "", "right write"},
              "keep alive");

  // The one that may still read goes on.
  v1::RegisterResponse registered;
  grpc::ClientContext context;
  Prepare(context, other);
  v1::RegisterRequest request;
  request.mutable_instance()->set_service("web");
  request.mutable_instance()->set_id("w-2");
  request.mutable_instance()->set_address("10.0.0.2");
  ASSERT_TRUE(registry->Register(&context, request, &registered).ok());
  ASSERT_TRUE(kept->Read(&event));
  EXPECT_TRUE(event.has_change()) << event.ShortDebugString();
  kept_context.TryCancel();
  EXPECT_EQ(kept->Finish().error_code(), StatusCode::CANCELLED);
}

TEST_F(Security, BeyondLoopbackNeedsTlsAndAuthentication) {
  const std::vector<std::string> beyond = {"--grpc-listen", "0.0.0.0:0"};
  const auto with_tls = [&](std::vector<std::string> flags) {
    const auto tls = Tls();
    flags.insert(flags.end(), tls.begin(), tls.end());
    return flags;
  };
  ExpectRefused(beyond, {"beyond loopback", "--tls-cert", "--tokens or --client-ca", "--insecure"});
  ExpectRefused(With(beyond, "--tokens", tokens_), {"lacks TLS (--tls-cert and --tls-key)"});
  ExpectRefused(with_tls(beyond), {"lacks authentication (--tokens or --client-ca)"});
  ExpectRefused({"--grpc-listen", "[::]:0"}, {"[::]:0", "beyond loopback"});
  const auto starts = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {BinDir() + "/musterd", "--data-dir", dir_.path("open"),
                                 "--http-listen", "off", "--dns-listen", "off"});
    Process server(flags, dir_.path("open.log"));
    const std::string line = server.ReadLine().value_or("");
    server.Signal(SIGTERM);
    EXPECT_EQ(server.Wait(), 0);
    return absl::StrContains(line, "ready grpc=0.0.0.0:");
  };
  EXPECT_TRUE(starts({"--grpc-listen", "0.0.0.0:0", "--insecure"}));
  EXPECT_TRUE(starts(with_tls(With(beyond, "--tokens", tokens_))));
  EXPECT_TRUE(starts(with_tls(With(beyond, "--client-ca", authority_.ca()))));
}

TEST_F(Security, BadCertificateFilesAreNamedAtTheStart) {
  authority_.Issue("expired", "-1");
  authority_.Issue("other");
  const std::string garbage = dir_.path("garbage.pem");
  WriteText(garbage, "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n");
  const auto pair = [](const std::string& cert, const std::string& key) {
    return std::vector<std::string>{
        "--grpc-listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key};
  };
  const std::string cert = authority_.cert("server");
  const std::string key = authority_.key("server");
  ExpectRefused(pair(dir_.path("none.pem"), key),
                {"tls.cert", "none.pem", "can't be read: No such"});
  ExpectRefused(pair(garbage, key), {"tls.cert", "garbage.pem", "holds no PEM certificate"});
  ExpectRefused(pair(cert, garbage), {"tls.key", "garbage.pem", "holds no PEM private key"});
  ExpectRefused(pair(cert, authority_.key("other")),
                {"tls.key", "other.key", "does not belong to the certificate", "server.pem"});
  ExpectRefused(pair(authority_.cert("expired"), authority_.key("expired")),
                {"tls.cert", "expired.pem", "expired on"});
  ExpectRefused(With(pair(cert, key), "--client-ca", garbage), {"tls.client_ca", "garbage.pem"});
}

TEST_F(Security, RenewedCertificatesServeNewConnections) {
  Musterd server(dir_.path("data"), Tls());
  std::string name;
  const auto before = Connect(server);
  EXPECT_TRUE(Discover(before, "", &name).ok());
  EXPECT_EQ(name, "server");
  authority_.Issue("renewed");
  WriteText(authority_.key("server"), ReadText(authority_.key("renewed")));
  WriteText(authority_.cert("server"), ReadText(authority_.cert("renewed")));
  EXPECT_TRUE(
      Eventually([&] { return Discover(Connect(server), "", &name).ok() && name == "renewed"; },
                 absl::Seconds(5)))
      << name;
  EXPECT_TRUE(Discover(before).ok()) << "an open connection goes on";
  // Files that are no certificates: new connections are refused until they are mended.
  const std::string good_key = ReadText(authority_.key("server"));
  WriteText(authority_.key("server"), "nonsense");
  EXPECT_TRUE(Eventually([&] { return !Discover(Connect(server)).ok(); }, absl::Seconds(5)));
  EXPECT_TRUE(Discover(before).ok()) << "an open connection goes on";
  WriteText(authority_.key("server"), good_key);
  EXPECT_TRUE(Eventually([&] { return Discover(Connect(server)).ok(); }, absl::Seconds(5)));
  EXPECT_EQ(server.Stop(), 0);
}

}  // namespace
}  // namespace muster::test
