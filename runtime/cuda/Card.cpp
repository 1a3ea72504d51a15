//===- Card.cpp - One CUDA device -----------------------------------------===//

#include "cuda/Card.h"
#include "Status.h"

using namespace sparse::runtime;
using namespace sparse::runtime::cuda;

Card::Card(const Driver &driver, int ordinal)
    : driver(driver), ordinal(ordinal) {
  int count = 0;
  Result result = driver.deviceCount(&count);
  if (result != success || count == 0)
    fail(Code::Unavailable,
         "the CUDA driver finds no device; see nvidia-smi and "
         "CUDA_VISIBLE_DEVICES, or run on the device cpu");
  if (ordinal >= count)
    fail(Code::Unavailable, "there is no device cuda:%d, the driver finds %d",
         ordinal, count);
  check(driver, driver.deviceGet(&id, ordinal), "cannot open the device");
  char text[256] = {};
  driver.deviceName(text, sizeof(text) - 1, id);
  name = text;
  driver.deviceAttribute(&major, attributeMajor, id);
  driver.deviceAttribute(&minor, attributeMinor, id);
  check(driver, driver.contextRetain(&context, id),
        "cannot create a context on the device");
}

Card::~Card() {
  if (context)
    driver.contextRelease(id);
}

uint64_t Card::freeBytes() const {
  Use use(*this);
  size_t free = 0, total = 0;
  check(driver, driver.memInfo(&free, &total),
        "cannot ask for the free memory of the device");
  return free;
}
