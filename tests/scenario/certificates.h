// A certificate authority for tests, by the program openssl, in a directory of the test's own.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace muster::test {

inline std::string ReadText(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// A new file over the old one, so that nobody reads half of it.
inline void WriteText(const std::string& path, const std::string& text) {
  std::ofstream(path + ".new") << text;
  std::filesystem::rename(path + ".new", path);
}

class Authority {
 public:
  explicit Authority(std::string dir) : dir_(std::move(dir)) {
    std::filesystem::create_directories(dir_);
    Openssl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-keyout", dir_ + "/ca.key", "-out", ca(), "-days", "30", "-subj", "/CN=authority"});
  }
  std::string ca() const { return dir_ + "/ca.pem"; }
  std::string cert(const std::string& name) const { return dir_ + "/" + name + ".pem"; }
  std::string key(const std::string& name) const { return dir_ + "/" + name + ".key"; }

  // For 127.0.0.1, by the common name `name`.
  void Issue(const std::string& name, const std::string& days = "30") {
    const std::string request = dir_ + "/" + name + ".csr";
    Openssl({"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-keyout", key(name), "-out", request, "-subj", "/CN=" + name, "-addext",
             "subjectAltName=IP:127.0.0.1,DNS:localhost"});
    Openssl({"x509", "-req", "-in", request, "-CA", ca(), "-CAkey", dir_ + "/ca.key",
             "-CAcreateserial", "-out", cert(name), "-days", days, "-copy_extensions", "copy"});
  }

 private:
  void Openssl(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "/usr/bin/openssl");
    Process openssl(arguments, dir_ + "/openssl.log");
    EXPECT_EQ(openssl.Wait(absl::Seconds(60)), 0) << ReadText(dir_ + "/openssl.log");
  }
  const std::string dir_;
};

}  // namespace muster::test
