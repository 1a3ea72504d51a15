//===- TestUtil.h - What several tests use ----------------------*- C++ -*-===//
#ifndef SPARSE_UNITTESTS_TESTUTIL_H
#define SPARSE_UNITTESTS_TESTUTIL_H

#include "Memory.h"
#include "Status.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <sys/mman.h>

namespace sparse::runtime {

/// The code with which `fn` fails; Ok when it does not. `message` receives the
/// text.
inline Code codeOf(const std::function<void()> &fn,
                   std::string *message = nullptr) {
  try {
    fn();
    return Code::Ok;
  } catch (const Error &error) {
    if (message)
      *message = error.what();
    return error.code;
  }
}

/// Whether SPARSE_TEST_LONG asks for the form of a test that is run before a
/// release.
inline bool longRun() {
  const char *text = std::getenv("SPARSE_TEST_LONG");
  return text && *text && std::string(text) != "0";
}

/// The number that an environment variable gives.
inline uint64_t fromEnvironment(const char *name, uint64_t otherwise) {
  const char *text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// A new seed in each run, which is printed; SPARSE_TEST_SEED repeats a run.
inline uint64_t testSeed() {
  uint64_t seed = fromEnvironment("SPARSE_TEST_SEED", std::random_device()());
  std::printf("SPARSE_TEST_SEED=%llu\n",
              static_cast<unsigned long long>(seed));
  return seed;
}

inline void PrintTo(Code code, std::ostream *os) { *os << codeName(code); }

/// Fails the calls of `commit` and `reserve` that a test names.
class FailingMemory : public Memory {
public:
  void *reserve(size_t bytes, bool huge) override {
    if (countdown())
      return nullptr;
    void *address = Memory::reserve(bytes, huge);
    reserved += address != nullptr;
    return address;
  }
  bool commit(void *address, size_t bytes) override {
    return !countdown() && Memory::commit(address, bytes);
  }
  void decommit(void *address, size_t bytes) override {
    decommitted += bytes;
    Memory::decommit(address, bytes);
  }
  void release(void *address, size_t bytes) override {
    --reserved;
    Memory::release(address, bytes);
  }

  /// Calls until the one that fails; negative: none does.
  int64_t failAfter = -1;
  /// Keep failing after the first.
  bool sticky = false;
  int64_t reserved = 0;
  uint64_t decommitted = 0;

private:
  bool countdown() {
    if (failAfter < 0)
      return false;
    if (failAfter == 0) {
      if (!sticky)
        failAfter = -1;
      return true;
    }
    --failAfter;
    return false;
  }
};

/// The memory of a card in one respect: what was given back is gone, an access
/// faults, and it has to be asked for again.
class StrictMemory : public FailingMemory {
public:
  bool overcommits() const override { return false; }
  void decommit(void *address, size_t bytes) override {
    FailingMemory::decommit(address, bytes);
    ::mprotect(address, bytes, PROT_NONE);
  }
};

} // namespace sparse::runtime

#endif // SPARSE_UNITTESTS_TESTUTIL_H
