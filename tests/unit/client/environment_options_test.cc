#include "client/environment_options.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <string>
#include <vector>

namespace muster::client {
namespace {

// Variables are the test's own while it runs.
class EnvironmentOptionsTest : public ::testing::Test {
 protected:
  EnvironmentOptionsTest() { Clear(); }
  ~EnvironmentOptionsTest() override { Clear(); }
  static void Clear() {
    for (const char* name :
         {"MUSTER_ADDR", "MUSTER_TOKEN", "MUSTER_CA", "MUSTER_CERT", "MUSTER_KEY"})
      unsetenv(name);
  }
  static Options Filled(Options options) {
    EXPECT_TRUE(FillFromEnvironment(&options).ok());
    return options;
  }
  static std::string Error() {
    Options options;
    return std::string(FillFromEnvironment(&options).message());
  }
  static std::string File(const std::string& name, const std::string& text) {
    std::string path = ::testing::TempDir() + "/" + name;
    std::ofstream(path) << text;
    return path;
  }
};

TEST_F(EnvironmentOptionsTest, CodeBeforeEnvironmentBeforeDefault) {
  EXPECT_EQ(Filled({}).servers, std::vector<std::string>{"127.0.0.1:8502"});
  setenv("MUSTER_ADDR", "10.0.0.1:8502, 10.0.0.2:8502", 1);
  setenv("MUSTER_TOKEN", "secret\n", 1);
  EXPECT_EQ(Filled({}).servers, (std::vector<std::string>{"10.0.0.1:8502", "10.0.0.2:8502"}));
  EXPECT_EQ(Filled({}).token, "secret");
  const Options said = Filled({.servers = {"10.0.0.3:1"}, .token = "mine"});
  EXPECT_EQ(said.servers, std::vector<std::string>{"10.0.0.3:1"});
  EXPECT_EQ(said.token, "mine");
  const Options deaf = Filled({.environment = false});
  EXPECT_EQ(deaf.servers, std::vector<std::string>{"127.0.0.1:8502"});
  EXPECT_EQ(deaf.token, "");
}

TEST_F(EnvironmentOptionsTest, TlsIsTakenAsAWhole) {
  const std::string pem = "-----BEGIN CERTIFICATE-----";
  setenv("MUSTER_CA", File("environment_ca", pem).c_str(), 1);
  EXPECT_EQ(Filled({}).ca, pem);
  EXPECT_EQ(Filled({.tls = true}).ca, "");
  EXPECT_EQ(Filled({.ca = "mine"}).ca, "mine");
  EXPECT_EQ(Filled({.key = "mine"}).ca, "");
}

TEST_F(EnvironmentOptionsTest, AFileThatCantBeUsedIsNamedByItsVariable) {
  setenv("MUSTER_KEY", "/nowhere", 1);
  EXPECT_EQ(Error(), "MUSTER_KEY: can't read the file: No such file or directory");
  setenv("MUSTER_KEY", "/tmp", 1);
  EXPECT_EQ(Error(), "MUSTER_KEY: can't read the file: Is a directory");
  setenv("MUSTER_KEY", File("environment_key", "").c_str(), 1);
  EXPECT_EQ(Error(), "MUSTER_KEY: the file holds no PEM");
  setenv("MUSTER_KEY", File("environment_large", std::string((1 << 20) + 1, 'x')).c_str(), 1);
  EXPECT_EQ(Error(), "MUSTER_KEY: the file has more than 1048576 bytes");
}

}  // namespace
}  // namespace muster::client
