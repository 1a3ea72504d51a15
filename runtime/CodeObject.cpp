//===- CodeObject.cpp - The kernels of a target ---------------------------===//

#include "CodeObject.h"
#include "Status.h"

#include <dlfcn.h>
#include <string>
#include <utility>

using namespace sparse::runtime;

CodeObject::CodeObject(File f) : file(std::move(f)) {
  std::string name = "/proc/self/fd/" + std::to_string(file.fd.get());
  handle = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    fail(Code::InvalidArgument, "cannot load %s: %s", file.path.c_str(),
         ::dlerror());
  using AbiFn = int64_t (*)();
  auto abi = reinterpret_cast<AbiFn>(::dlsym(handle, "sparse_kernel_abi"));
  int64_t found = abi ? abi() : -1;
  if (found == kernelAbi)
    return;
  ::dlclose(std::exchange(handle, nullptr));
  if (!abi)
    fail(Code::InvalidArgument, "%s does not export sparse_kernel_abi",
         file.path.c_str());
  fail(Code::Incompatible, "%s has kernel ABI %lld, this runtime has %lld; %s",
       file.path.c_str(), static_cast<long long>(found),
       static_cast<long long>(kernelAbi),
       found > kernelAbi ? "use a newer runtime" : "compile the model again");
}

CodeObject::CodeObject(CodeObject &&other) noexcept
    : file(std::move(other.file)),
      handle(std::exchange(other.handle, nullptr)) {}

CodeObject &CodeObject::operator=(CodeObject &&other) noexcept {
  std::swap(file, other.file);
  std::swap(handle, other.handle);
  return *this;
}

CodeObject::~CodeObject() {
  if (handle)
    ::dlclose(handle);
}

Kernel CodeObject::find(const char *name) const {
  return reinterpret_cast<Kernel>(::dlsym(handle, name));
}
