//===-- ListPoliciesCommand.h - sparse-opt list-policies ------------------------------------------------*- C++ -*-===//
#ifndef SPARSE_LIB_DRIVER_LISTPOLICIESCOMMAND_H
#define SPARSE_LIB_DRIVER_LISTPOLICIESCOMMAND_H

namespace sparse::driver {
/// `sparse-opt list-policies [--matrix] [--json]`. Returns the exit code; argv[0] is "list-policies".
int listPoliciesCommand(int argc, char **argv);
} // namespace sparse::driver

#endif
