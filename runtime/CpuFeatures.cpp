//===- CpuFeatures.cpp - What the host's CPU can do -----------------------===//

#include "CpuFeatures.h"

#include <fstream>
#include <sstream>

using namespace sparse::runtime;

std::set<std::string>
sparse::runtime::parseCpuFeatures(const std::string &cpuinfo) {
  std::set<std::string> features;
  std::istringstream lines(cpuinfo);
  std::string line;
  while (std::getline(lines, line)) {
    // "flags" on x86, "Features" on Arm; the first CPU speaks for all.
    if (line.compare(0, 5, "flags") != 0 && line.compare(0, 8, "Features") != 0)
      continue;
    size_t colon = line.find(':');
    if (colon == std::string::npos)
      continue;
    std::istringstream words(line.substr(colon + 1));
    std::string word;
    while (words >> word)
      features.insert(word);
    break;
  }
  return features;
}

std::set<std::string> sparse::runtime::hostCpuFeatures() {
  std::ifstream file("/proc/cpuinfo");
  std::stringstream text;
  text << file.rdbuf();
  return parseCpuFeatures(text.str());
}
