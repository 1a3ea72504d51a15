//===- CliTest.h - sparse-run as a person calls it --------------*- C++ -*-===//
#ifndef SPARSE_UNITTESTS_CLITEST_H
#define SPARSE_UNITTESTS_CLITEST_H

#include "TestUtil.h"
#include "ToyModel.h"

#include <cstdlib>
#include <sys/wait.h>

struct Result {
  int code;
  std::string out, err;
};

class CliTest : public testing::Test {
protected:
  CliTest() {
    toy::makeArtifact(config).write(model);
    toy::makeArtifact(toy::Config()).write(dense);
  }
  Result run(const std::string &arguments) {
    std::string out = dir.path() + "/out", err = dir.path() + "/err";
    std::string command = std::string(SPARSE_RUN) + " " + arguments + " >" +
                          out + " 2>" + err + " </dev/null";
    int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1,
            toy::Artifact::readFile(out), toy::Artifact::readFile(err)};
  }
  std::string path(const char *name) const { return dir.path() + "/" + name; }

  toy::Config config = toy::cappedConfig("end");
  toy::TempDir dir;
  std::string model = dir.path() + "/model.spx", dense = path("dense.spx");
};

#endif // SPARSE_UNITTESTS_CLITEST_H
