//===- CpuFeatures.h - What the host's CPU can do ---------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_CPUFEATURES_H
#define SPARSE_RUNTIME_CPUFEATURES_H

#include <set>
#include <string>

namespace sparse::runtime {

/// The features of this CPU, named as the `flags` of /proc/cpuinfo.
std::set<std::string> hostCpuFeatures();

/// The same from the text of that file.
std::set<std::string> parseCpuFeatures(const std::string &cpuinfo);

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_CPUFEATURES_H
