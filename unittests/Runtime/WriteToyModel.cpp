//===- WriteToyModel.cpp - A small artifact on disk -----------------------===//
//
// write-toy-model DIR [dense|none|end|chunk]
//
// For trying the tools and for the tests of the Python package.
//
//===----------------------------------------------------------------------===//

#include "ToyModel.h"

#include <cstdio>
#include <cstring>

int main(int argc, char **argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: write-toy-model DIR [dense|none|end|chunk]\n");
    return 2;
  }
  bool dense = argc == 2 || !std::strcmp(argv[2], "dense");
  toy::Config config = dense ? toy::Config() : toy::cappedConfig(argv[2]);
  toy::makeArtifact(config).write(argv[1]);
  return 0;
}
