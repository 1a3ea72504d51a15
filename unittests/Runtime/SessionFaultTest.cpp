//===- SessionFaultTest.cpp - Disks that fail, processes that die ---------===//
//
// R13: whatever fails while a session is written, the file at its path is the
// old one or the new one, as a whole.
//
//===----------------------------------------------------------------------===//

#include "Session.h"

#include "TestUtil.h"
#include "ToyModel.h"

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <random>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace sparse::runtime;
using toy::Artifact;

namespace {

/// A model whose sessions take several writes.
toy::Config largeConfig() {
  toy::Config config;
  config.dim = 128;
  config.maxContext = 1600;
  for (toy::Layer &layer : config.layers)
    layer.maxPages = 400;
  return config;
}

/// What happens at one of the calls, counted over all of them.
struct Fault {
  enum Kind { None, Fail, Short, Interrupt, KillBefore, KillAfter, KillWithin };
  Kind kind = None;
  int at = 0;
  int error = 0;
};

/// The calls of the system, with a fault.
FileCalls makeCalls(const Fault &fault, int &count) {
  FileCalls calls = FileCalls::system();
  const FileCalls &real = FileCalls::system();
  auto hit = [fault, &count] { return count++ == fault.at; };
  auto simple = [fault, hit](auto call) {
    bool now = hit();
    if (now && fault.kind == Fault::KillBefore)
      ::kill(::getpid(), SIGKILL);
    if (now && fault.kind == Fault::Fail) {
      errno = fault.error;
      return -1;
    }
    int result = call();
    if (now &&
        (fault.kind == Fault::KillAfter || fault.kind == Fault::KillWithin))
      ::kill(::getpid(), SIGKILL);
    return result;
  };
  calls.fsync = [simple, &real](int fd) {
    return simple([&] { return real.fsync(fd); });
  };
  calls.rename = [simple, &real](int directory, const char *from,
                                 const char *to) {
    return simple([&] { return real.rename(directory, from, to); });
  };
  calls.write = [fault, hit, &real](int fd, const void *data,
                                    size_t bytes) -> ssize_t {
    if (!hit())
      return real.write(fd, data, bytes);
    switch (fault.kind) {
    case Fault::None:
      break;
    case Fault::Fail:
    case Fault::Interrupt:
      errno = fault.kind == Fault::Fail ? fault.error : EINTR;
      return -1;
    case Fault::Short:
      return real.write(fd, data, bytes / 2 + 1);
    case Fault::KillBefore:
      ::kill(::getpid(), SIGKILL);
      break;
    case Fault::KillAfter:
    case Fault::KillWithin: {
      ssize_t wrote = real.write(
          fd, data, fault.kind == Fault::KillAfter ? bytes : bytes / 2);
      ::kill(::getpid(), SIGKILL);
      return wrote;
    }
    }
    return real.write(fd, data, bytes);
  };
  return calls;
}

class SessionFaults : public testing::Test {
protected:
  SessionFaults() {
    toy::makeArtifact(largeConfig()).write(dir.path() + "/model.spx");
    Saver saver(dir.path());
    saver.save(0, path);
    old = Artifact::readFile(path);
    saver.save(1, path);
    fresh = Artifact::readFile(path);
    int count = 0;
    FileCalls counting = makeCalls({}, count);
    saver.save(1, path, &counting);
    calls = count;
    reset();
  }
  /// Makes two sessions.
  struct Saver {
    explicit Saver(const std::string &dir)
        : context(std::make_shared<Model>(dir + "/model.spx", LoadOptions()),
                  options()) {
      for (int which = 0; which < 2; ++which) {
        seqs[which] = context.cache().create();
        context.fillRandom(seqs[which], 800, static_cast<uint64_t>(which));
      }
    }
    static ContextOptions options() {
      ContextOptions options = toy::smallOptions();
      options.limitBytes = 64 << 20;
      // A child of a process with threads must not start any.
      options.threads = 1;
      return options;
    }
    void save(int which, const std::string &path,
              const FileCalls *calls = nullptr) {
      saveSequence(context, seqs[which], path, "",
                   calls ? *calls : FileCalls::system());
    }
    Context context;
    uint32_t seqs[2];
  };

  void reset() { Artifact::writeFile(path, old); }
  /// Files beside the session and the model.
  size_t strangers() const {
    size_t n = 0;
    for (const auto &entry : std::filesystem::directory_iterator(dir.path()))
      n += entry.path() != path && entry.path().filename() != "model.spx";
    return n;
  }
  void expectWhole(const std::string &text, const std::string &what) {
    std::string now = Artifact::readFile(path);
    ASSERT_TRUE(now == text) << what << ": " << now.size() << " bytes";
    SessionFile session(path);
    ASSERT_EQ(session.header().state.length, 800u) << what;
  }

  toy::TempDir dir;
  std::string path = dir.path() + "/chat.session", old, fresh;
  int calls = 0; ///< of a save: writes, fsync, rename, fsync of the directory
};

TEST_F(SessionFaults, R13_CallsThatFail) {
  ASSERT_GE(calls, 7);
  Saver saver(dir.path());
  int cases = 0;
  struct Error {
    int error;
    Code code;
  };
  for (Error error :
       {Error{ENOSPC, Code::ResourceExhausted},
        Error{EDQUOT, Code::ResourceExhausted}, Error{EIO, Code::DataLoss},
        Error{EROFS, Code::InvalidArgument}})
    for (int at = 0; at < calls; ++at) {
      reset();
      int count = 0;
      FileCalls failing = makeCalls({Fault::Fail, at, error.error}, count);
      std::string what = "call " + std::to_string(at) + ", " +
                         std::strerror(error.error),
                  message;
      Code code = codeOf([&] { saver.save(1, path, &failing); }, &message);
      bool written = at == calls - 1; // only its directory was not synchronized
      EXPECT_EQ(code, written ? Code::DataLoss : error.code) << what;
      EXPECT_NE(message.find(path), std::string::npos) << message;
      ASSERT_NO_FATAL_FAILURE(expectWhole(written ? fresh : old, what));
      EXPECT_EQ(strangers(), 0u) << what;
      ++cases;
    }
  EXPECT_GE(cases, 28);
}

TEST_F(SessionFaults, R13_ShortAndInterruptedWrites) {
  Saver saver(dir.path());
  for (Fault::Kind kind : {Fault::Short, Fault::Interrupt})
    for (int at = 0; at < calls - 3; ++at) {
      reset();
      int count = 0;
      FileCalls odd = makeCalls({kind, at, 0}, count);
      saver.save(1, path, &odd);
      ASSERT_NO_FATAL_FAILURE(expectWhole(fresh, std::to_string(at)));
    }
  // A disk that takes a little of the last write, then no more.
  int count = 0;
  FileCalls full = FileCalls::system();
  full.write = [&](int fd, const void *data, size_t bytes) -> ssize_t {
    if (++count < calls - 3)
      return ::write(fd, data, bytes);
    if (count > calls - 3) {
      errno = ENOSPC;
      return -1;
    }
    return ::write(fd, data, bytes / 3);
  };
  reset();
  EXPECT_EQ(codeOf([&] { saver.save(1, path, &full); }),
            Code::ResourceExhausted);
  ASSERT_NO_FATAL_FAILURE(expectWhole(old, "full"));
  // A write that takes nothing must not be tried forever.
  full.write = [](int, const void *, size_t) -> ssize_t { return 0; };
  EXPECT_EQ(codeOf([&] { saver.save(1, path, &full); }), Code::DataLoss);
  EXPECT_EQ(strangers(), 0u);
}

TEST_F(SessionFaults, R13_Reads) {
  Saver saver(dir.path());
  CacheUsage usage = saver.context.cache().usage();
  FileCalls calls = FileCalls::system();
  int count = 0, failAt = -1;
  calls.pread = [&](int fd, void *out, size_t bytes, off_t at) -> ssize_t {
    if (count++ == failAt) {
      errno = EIO;
      return -1;
    }
    // Never all, and sometimes nothing for now.
    if (count % 3 == 0) {
      errno = EINTR;
      return -1;
    }
    return ::pread(fd, out, bytes > 70000 ? 70000 : bytes, at);
  };
  auto restore = [&] {
    SessionFile session(path, calls);
    saver.context.cache().destroy(restoreSequence(saver.context, session));
  };
  restore();
  int reads = count;
  ASSERT_GT(reads, 100);
  for (failAt = 0; failAt < reads; failAt += failAt < 8 ? 1 : 29) {
    count = 0;
    EXPECT_EQ(codeOf(restore), Code::DataLoss) << failAt;
    EXPECT_EQ(saver.context.cache().usage().pages, usage.pages);
  }
}

TEST_F(SessionFaults, R13_Places) {
  Saver saver(dir.path());
  auto code = [&](const std::string &where) {
    return codeOf([&] { saver.save(1, where); });
  };
  EXPECT_EQ(code(dir.path() + "/none/chat.session"), Code::NotFound);
  EXPECT_EQ(code(""), Code::InvalidArgument);
  EXPECT_EQ(code(dir.path() + "/"), Code::InvalidArgument);
  EXPECT_EQ(code(dir.path() + "/model.spx"), Code::InvalidArgument);
  EXPECT_EQ(code(path + "/chat.session"), Code::InvalidArgument);
  EXPECT_EQ(code(dir.path() + "/" + std::string(300, 'x')),
            Code::InvalidArgument);
  std::string readOnly = dir.path() + "/model.spx";
  ::chmod(readOnly.c_str(), 0500);
  if (::geteuid() != 0) {
    EXPECT_EQ(code(readOnly + "/chat.session"), Code::InvalidArgument);
  }
  ::chmod(readOnly.c_str(), 0700);
  EXPECT_EQ(strangers(), 0u);
  ASSERT_NO_FATAL_FAILURE(expectWhole(old, "after all"));
  // A link is replaced, not followed.
  std::string link = dir.path() + "/link.session";
  ASSERT_EQ(::symlink(path.c_str(), link.c_str()), 0);
  EXPECT_EQ(code(link), Code::Ok);
  ASSERT_NO_FATAL_FAILURE(expectWhole(old, "behind the link"));
  EXPECT_EQ(Artifact::readFile(link), fresh);
  struct stat info;
  ASSERT_EQ(::lstat(link.c_str(), &info), 0);
  EXPECT_TRUE(S_ISREG(info.st_mode));
  EXPECT_EQ(info.st_mode & 0777, 0600u) << "as private as the text in it";
}

/// Runs `body` in a child, which never outlives this process and never returns
/// into the tests.
template <typename Body>
pid_t inChild(Body body) {
  pid_t child = ::fork();
  if (child != 0)
    return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  try {
    body();
  } catch (...) {
    ::_exit(2);
  }
  ::_exit(0);
}

/// True when the child was killed.
bool wasKilled(pid_t child) {
  int status = 0;
  return ::waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
         WTERMSIG(status) == SIGKILL;
}

// Killed before, within and after each call of a save.
TEST_F(SessionFaults, R13_KilledAtEachCall) {
  int cases = 0;
  for (Fault::Kind kind :
       {Fault::KillBefore, Fault::KillWithin, Fault::KillAfter})
    for (int at = 0; at < calls; ++at) {
      reset();
      ASSERT_TRUE(wasKilled(inChild([&] {
        int count = 0;
        FileCalls deadly = makeCalls({kind, at, 0}, count);
        Saver saver(dir.path());
        saver.save(1, path, &deadly);
      }))) << at;
      // The rename is the call before the last.
      bool written =
          at == calls - 1 || (at == calls - 2 && kind != Fault::KillBefore);
      ASSERT_NO_FATAL_FAILURE(expectWhole(written ? fresh : old,
                                          "call " + std::to_string(at) +
                                              " kind " + std::to_string(kind)));
      ++cases;
    }
  EXPECT_GE(cases, 20);
  // What a killed process leaves beside it is in nobody's way.
  Saver saver(dir.path());
  saver.save(1, path);
  ASSERT_NO_FATAL_FAILURE(expectWhole(fresh, "after the kills"));
}

// Killed at any time, while it saves one and the other in turn.
TEST_F(SessionFaults, R13_KilledAtAnyTime) {
  std::mt19937 random(13);
  for (int i = 0; i < 10; ++i) {
    reset();
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    pid_t child = inChild([&] {
      Saver saver(dir.path());
      if (::write(ready[1], "", 1) != 1)
        return;
      while (true)
        for (int which : {0, 1})
          saver.save(which, path);
    });
    char byte;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    ::usleep(random() % 30000);
    ::kill(child, SIGKILL);
    ASSERT_TRUE(wasKilled(child));
    ::close(ready[0]);
    ::close(ready[1]);
    std::string now = Artifact::readFile(path);
    ASSERT_TRUE(now == old || now == fresh) << now.size() << " bytes";
  }
}

} // namespace
