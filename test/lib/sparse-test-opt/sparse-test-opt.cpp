//===-- sparse-test-opt.cpp - The pass driver with methods that only tests know -----------------------------------===//
#include "lib/Driver/Driver.h"
#include "test/lib/DummyPolicy/DummyPolicy.h"

#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  sparse::driver::registerDialects(registry);
  sparse::test_policy::registerDummyPolicies(registry);
  sparse::driver::registerPasses();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "sparse-opt with the methods of tests\n", registry));
}
