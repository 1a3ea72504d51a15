//===-- sparse-opt.cpp - Pass driver and sub-commands -------------------------------------------------------------===//
#include "lib/Driver/Driver.h"

int main(int argc, char **argv) { return sparse::driver::sparseOptMain(argc, argv); }
