//===- Device.cpp - Where a model runs ------------------------------------===//

#include "Device.h"
#include "CpuDevice.h"
#include "Model.h"
#include "Status.h"
#include "cuda/CudaDevice.h"

using namespace sparse::runtime;

std::string sparse::runtime::deviceKind(const std::string &name) {
  return name.substr(0, name.find(':'));
}

static int ordinalOf(const std::string &name) {
  size_t colon = name.find(':');
  if (colon == std::string::npos)
    return 0;
  std::string digits = name.substr(colon + 1);
  if (digits.empty() || digits.size() > 4 ||
      digits.find_first_not_of("0123456789") != std::string::npos)
    fail(Code::InvalidArgument, "'%s' is not a device: expected cuda:N",
         name.c_str());
  return std::stoi(digits);
}

std::shared_ptr<Device>
sparse::runtime::openDevice(const std::string &name,
                            const LoadOptions &options) {
  if (name == "cpu")
    return std::make_shared<CpuDevice>(options.cpuFeatures);
  if (deviceKind(name) == "cuda")
    return cuda::openCudaDevice(ordinalOf(name), options.cuda);
  fail(Code::InvalidArgument, "'%s' is not a device: expected cpu or cuda",
       name.c_str());
}
