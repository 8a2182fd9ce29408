#include "server/app/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "server/app/version.h"

namespace muster::app {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
namespace fs = std::filesystem;

class FlagsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string dir = testing::TempDir() + "flags_XXXXXX";
    ASSERT_NE(mkdtemp(dir.data()), nullptr);
    dir_ = dir;
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::string File(const std::string& name, const std::string& text) const {
    std::ofstream(dir_ / name) << text;
    return dir_ / name;
  }
  FlagsResult Parse(const std::vector<std::string>& args) const {
    std::vector<const char*> argv = {"musterd"};
    for (const std::string& arg : args) argv.push_back(arg.c_str());
    return ParseFlags(static_cast<int>(argv.size()), argv.data(),
                      [this](const std::string& name) -> std::optional<std::string> {
                        const auto it = environment_.find(name);
                        if (it == environment_.end()) return std::nullopt;
                        return it->second;
                      });
  }

  fs::path dir_;
  std::map<std::string, std::string> environment_;
};

TEST_F(FlagsTest, WithNothingGivenTheDefaultsRun) {
  const FlagsResult result = Parse({});
  EXPECT_TRUE(result.run);
  EXPECT_EQ(result.config.grpc_listen.port, 8502);
  EXPECT_EQ(result.out + result.err, "");
}

TEST_F(FlagsTest, EachSourceWinsOverTheOneBefore) {
  EXPECT_EQ(Parse({}).config.data_dir, "./data");
  const std::string file = File("c.yaml", "data_dir: from-file\nstorage: memory\n");
  EXPECT_EQ(Parse({"--config", file}).config.data_dir, "from-file");
  environment_["MUSTER_DATA_DIR"] = "from-environment";
  EXPECT_EQ(Parse({"--config", file}).config.data_dir, "from-environment");
  const FlagsResult all = Parse({"--config", file, "--data-dir", "from-flag"});
  EXPECT_EQ(all.config.data_dir, "from-flag");
  EXPECT_EQ(all.config.storage, StorageKind::kMemory) << "the rest of the file still counts";
}

TEST_F(FlagsTest, TheFileCanComeFromTheEnvironment) {
  environment_["MUSTER_CONFIG"] = File("env.yaml", "data_dir: by-environment\n");
  EXPECT_EQ(Parse({}).config.data_dir, "by-environment");
  EXPECT_EQ(Parse({"--config", File("flag.yaml", "data_dir: by-flag\n")}).config.data_dir,
            "by-flag");
}

TEST_F(FlagsTest, AnEmptyVariableCountsAsNotSet) {
  for (const Setting& setting : Settings()) environment_[EnvironmentName(setting.flag)] = "";
  environment_["MUSTER_CONFIG"] = "";
  const FlagsResult result = Parse({});
  EXPECT_TRUE(result.run) << result.err;
  EXPECT_EQ(result.config.data_dir, "./data");
}

TEST_F(FlagsTest, EveryFlagReachesItsField) {
  const std::vector<std::string> args = {
      "--data-dir=d",     "--grpc-listen=0.0.0.0:1", "--http-listen=off",
      "--dns-listen=off", "--storage=memory",        "--tls-cert=c",
      "--tls-key=k",      "--client-ca=a",           "--tokens=t",
      "--insecure",       "--log-level=warn",        "--log-format=json"};
  ASSERT_EQ(args.size(), Settings().size());
  const auto check = [](const FlagsResult& result) {
    ASSERT_TRUE(result.run) << result.err;
    const ResolvedConfig& config = result.config;
    EXPECT_EQ(config.data_dir, "d");
    EXPECT_EQ(base::FormatHostPort(config.grpc_listen), "0.0.0.0:1");
    EXPECT_FALSE(config.http_listen || config.dns_listen);
    EXPECT_EQ(config.storage, StorageKind::kMemory);
    ASSERT_TRUE(config.tls);
    EXPECT_EQ(config.tls->cert + config.tls->key + config.tls->client_ca, "cka");
    EXPECT_EQ(config.tokens, "t");
    EXPECT_TRUE(config.insecure);
    EXPECT_EQ(config.log_level, base::LogLevel::kWarn);
    EXPECT_EQ(config.log_format, LogFormat::kJson);
  };
  check(Parse(args));
  for (const std::string& arg : args) {
    const size_t equals = arg.find('=');
    environment_[EnvironmentName(arg.substr(0, equals))] =
        equals == std::string::npos ? "true" : arg.substr(equals + 1);
  }
  check(Parse({}));
}

TEST_F(FlagsTest, InsecureCanBeSwitchedOff) {
  environment_["MUSTER_INSECURE"] = "true";
  EXPECT_TRUE(Parse({}).config.insecure);
  const FlagsResult off = Parse({"--insecure=false"});
  EXPECT_TRUE(off.run) << off.err;
  EXPECT_FALSE(off.config.insecure);
}

TEST_F(FlagsTest, WrongUsageExitsWithTwoAndTheNearestFlag) {
  const FlagsResult typo = Parse({"--grpc-listn=127.0.0.1:1"});
  EXPECT_FALSE(typo.run);
  EXPECT_EQ(typo.exit_code, 2);
  EXPECT_EQ(typo.out, "");
  EXPECT_EQ(typo.err,
            "musterd: unknown argument \"--grpc-listn=127.0.0.1:1\"; did you mean "
            "--grpc-listen?\ntry musterd --help\n");
  for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{
           {"serve"}, {"--data-dir"}, {"--tokens", "a", "--tokens", "b"}, {"-x"}}) {
    const FlagsResult result = Parse(args);
    EXPECT_FALSE(result.run) << args[0];
    EXPECT_EQ(result.exit_code, 2) << args[0];
    EXPECT_THAT(result.err, HasSubstr("try musterd --help")) << args[0];
  }
}

TEST_F(FlagsTest, AnEmptyValueIsWrongUsage) {
  for (const char* flag : {"--tokens", "--config", "--data-dir"}) {
    for (const FlagsResult& result :
         {Parse({flag, ""}), Parse({"--storage", "memory", flag, ""})}) {
      EXPECT_EQ(result.exit_code, 2) << flag;
      EXPECT_THAT(result.err, HasSubstr(std::string(flag) + " is given an empty value"));
    }
  }
  // With "=", the next word isn't the value, and a switch isn't on.
  for (const std::string flag : {"--tokens", "--config", "--data-dir", "--insecure"}) {
    const FlagsResult result = Parse({flag + "=", "--check-config"});
    EXPECT_EQ(result.exit_code, 2) << flag;
    EXPECT_THAT(result.err, HasSubstr("musterd: " + flag + " is given an empty value"));
  }
  EXPECT_THAT(Parse({"--tokns="}).err, HasSubstr("did you mean --tokens?"));
}

TEST_F(FlagsTest, ABadValueExitsWithOneAndSaysWhereItCameFrom) {
  const FlagsResult flag = Parse({"--storage", "etcd"});
  EXPECT_EQ(flag.exit_code, 1);
  EXPECT_EQ(flag.err,
            "musterd: storage: \"etcd\" is unknown; allowed: rocksdb, memory (from --storage)\n");
  environment_["MUSTER_INSECURE"] = "maybe";
  EXPECT_THAT(Parse({}).err, HasSubstr("(from MUSTER_INSECURE)"));
  environment_.clear();
  const std::string file = File("c.yaml", "leases: {min_ttl: soon}\n");
  const FlagsResult in_file = Parse({"--config", file});
  EXPECT_EQ(in_file.exit_code, 1);
  EXPECT_THAT(in_file.err, StartsWith("musterd: " + file + ": leases.min_ttl: \"soon\""));
}

TEST_F(FlagsTest, AConfigFileThatCannotBeReadExitsWithOne) {
  const FlagsResult missing = Parse({"--config", (dir_ / "none.yaml").string()});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.err, HasSubstr("none.yaml\" can't be read: No such file"));
  const FlagsResult directory = Parse({"--config", dir_.string()});
  EXPECT_EQ(directory.exit_code, 1);
  EXPECT_THAT(directory.err, HasSubstr("can't be read: Is a directory"));
  const std::string large = File("large.yaml", std::string((1 << 20) + 1, '#'));
  EXPECT_THAT(Parse({"--config", large}).err, HasSubstr("too large"));
}

TEST_F(FlagsTest, AnOpenListenerIsRefused) {
  const FlagsResult result = Parse({"--grpc-listen", "0.0.0.0:8502"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("--insecure"));
  EXPECT_TRUE(Parse({"--grpc-listen", "0.0.0.0:8502", "--insecure"}).run);
}

TEST_F(FlagsTest, PrintConfigPrintsWhatIsInForceToBeReadBack) {
  const FlagsResult first =
      Parse({"--print-config", "--data-dir", "a: \"b\"", "--http-listen", "off", "--insecure"});
  EXPECT_FALSE(first.run);
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_THAT(first.out, HasSubstr("http_listen: \"off\""));
  const FlagsResult second = Parse({"--print-config", "--config", File("p.yaml", first.out)});
  EXPECT_EQ(second.out, first.out) << second.err;
  EXPECT_EQ(Parse({"--print-config", "--storage", "x"}).exit_code, 1);
}

TEST_F(FlagsTest, CheckConfigLooksAtTheFilesToo) {
  EXPECT_EQ(Parse({"--check-config"}).out, "config ok\n");
  const std::string tokens = File("tokens", "read short\n");
  const FlagsResult bad = Parse({"--check-config", "--tokens", tokens});
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_THAT(bad.err, HasSubstr("line 1: token has 5 characters"));
  File("tokens", "read reader-token-0001\n");
  EXPECT_EQ(Parse({"--check-config", "--tokens", tokens}).out, "config ok\n");
  const FlagsResult cert =
      Parse({"--check-config", "--tls-cert", (dir_ / "no.pem").string(), "--tls-key", tokens});
  EXPECT_EQ(cert.exit_code, 1);
  EXPECT_THAT(cert.err, HasSubstr("no.pem"));
}

TEST_F(FlagsTest, HelpAndVersionAreTexts) {
  const FlagsResult help = Parse({"--help"});
  EXPECT_FALSE(help.run);
  EXPECT_EQ(help.exit_code, 0);
  for (const Setting& setting : Settings()) {
    EXPECT_THAT(help.out, HasSubstr(std::string(setting.flag)));
  }
  const FlagsResult version = Parse({"--version"});
  EXPECT_EQ(version.out, "musterd " + std::string(Version()) + "\n");
  EXPECT_EQ(version.exit_code, 0);
}

}  // namespace
}  // namespace muster::app
