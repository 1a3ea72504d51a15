//===- AbiTest.cpp - Programs that were built against older headers (R24) -===//

#include "Abi/layout.h"
#include "TestUtil.h"
#include "ToyModel.h"

#include <algorithm>
#include <cstdio>
#include <sstream>

namespace {

/// What a command prints; empty when it cannot run. `code` receives its exit
/// code.
std::string outputOf(const std::string &command, int &code) {
  std::string text;
  FILE *pipe = ::popen(command.c_str(), "r");
  if (!pipe)
    return text;
  char buffer[4096];
  while (size_t n = std::fread(buffer, 1, sizeof(buffer), pipe))
    text.append(buffer, n);
  int status = ::pclose(pipe);
  code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return text;
}

class AbiTest : public testing::TestWithParam<int> {};

TEST_P(AbiTest, AClientOfTheVersionRuns) {
  toy::Config config;
  toy::TempDir dir;
  toy::makeArtifact(config).write(dir.path());
  int code = -1;
  std::string printed =
      outputOf(toy::builtFile(ABI_CLIENT + std::to_string(GetParam())) + " " +
                   dir.path(),
               code);
  ASSERT_EQ(code, 0) << printed;

  toy::Oracle oracle(config);
  auto best = [](const std::vector<float> &logits) {
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) -
                                logits.begin());
  };
  int32_t token = best(oracle.logits(
      oracle.prefill({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}).back()));
  std::ostringstream expected;
  expected << token << " ";
  // Six steps, and one by each version's own way.
  for (int step = 0; step < 5 + GetParam(); ++step)
    expected << (token = best(oracle.decode(token))) << " ";
  EXPECT_EQ(printed, expected.str());
}

// Members may be added behind, never moved or changed.
TEST_P(AbiTest, NoMemberHasMoved) {
  const sparse_abi_member *then[] = {sparse_abi_v1, sparse_abi_v2,
                                     sparse_abi_v3};
  const sparse_abi_member *now[] = {sparse_abi_v1_now, sparse_abi_v2_now,
                                    sparse_abi_v3_now};
  size_t members = 0;
  for (const sparse_abi_member *a = then[GetParam() - 1],
                               *b = now[GetParam() - 1];
       a->name; ++a, ++b, ++members) {
    ASSERT_STREQ(a->name, b->name);
    EXPECT_EQ(a->offset, b->offset) << a->name;
    EXPECT_EQ(a->bytes, b->bytes) << a->name;
  }
  EXPECT_GT(members, 90u);
}

INSTANTIATE_TEST_SUITE_P(Versions, AbiTest, testing::Range(1, 4));

TEST(AbiSymbolsTest, ExportedSymbolsAreThoseOfTheList) {
  int code = -1;
  std::string text =
      outputOf(std::string(NM) + " -D --defined-only " +
                   toy::builtFile(SPARSE_RUNTIME_LIBRARY) + " 2>&1",
               code);
  if (code == 127)
    GTEST_SKIP() << "there is no nm";
  ASSERT_EQ(code, 0) << text;
  std::istringstream lines(text);
  std::string line, names;
  while (std::getline(lines, line)) {
    std::string name = line.substr(line.rfind(' ') + 1);
    names += name.substr(0, name.find('@')) + "\n";
  }
  EXPECT_EQ(names, toy::Artifact::readFile(ABI_SYMBOLS));
}

} // namespace
