//===- Session.h - Saving and restoring sequences ---------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_SESSION_H
#define SPARSE_RUNTIME_SESSION_H

#include "Context.h"
#include "SessionFile.h"

namespace sparse::runtime {

/// Writes all that a sequence needs to go on to a file that takes the place of
/// `path` as a whole. `note` are bytes of the application. Throws
/// FAILED_PRECONDITION in a poisoned context or a generation; else what
/// `AtomicFile` does.
void saveSequence(const Context &context, uint32_t seq, const std::string &path,
                  const std::string &note,
                  const FileCalls &calls = FileCalls::system());

/// A new sequence that goes on as the saved one would. A session that is
/// refused has touched nothing of the cache. INCOMPATIBLE with another model or
/// device, INVALID_ARGUMENT, DATA_LOSS, RESOURCE_EXHAUSTED.
uint32_t restoreSequence(Context &context, const SessionFile &session);

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_SESSION_H
