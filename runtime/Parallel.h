//===- Parallel.h - Running the tasks of a step -----------------*- C++ -*-===//
#ifndef SPARSE_RUNTIME_PARALLEL_H
#define SPARSE_RUNTIME_PARALLEL_H

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace sparse::runtime {

/// Runs independent tasks. Results never depend on who runs which task, so an
/// application may bring its own threads.
class Parallel {
public:
  using Body = void (*)(void *context, int64_t task);

  virtual ~Parallel() = default;

  /// Calls `body(context, task)` once for each task in [0, tasks) and returns
  /// when all calls have returned. One caller at a time.
  virtual void run(int64_t tasks, Body body, void *context) = 0;

  virtual unsigned threads() const = 0;

  /// The same for a callable.
  template <typename Fn> void forEach(int64_t tasks, Fn &&fn) {
    run(
        tasks,
        [](void *context, int64_t task) {
          (*static_cast<std::remove_reference_t<Fn> *>(context))(task);
        },
        &fn);
  }
};

/// Our own threads: `threads - 1` workers and the caller. Workers spin for a
/// short while between two runs and sleep after that.
class ThreadPool : public Parallel {
public:
  /// `threads` >= 1.
  explicit ThreadPool(unsigned threads);
  ~ThreadPool() override;

  void run(int64_t tasks, Body body, void *context) override;
  unsigned threads() const override {
    return static_cast<unsigned>(workers.size()) + 1;
  }

private:
  bool takeOne();
  void work();
  bool spin() const;
  void stop();

  // Tasks not yet taken. Taking one by compare-exchange also gives the right
  // to read the job below: it stays until the taken task is done.
  alignas(64) std::atomic<int64_t> tickets{0};
  alignas(64) std::atomic<int64_t> done{0};
  alignas(64) std::atomic<int> sleepers{0};
  std::atomic<bool> stopping{false};

  int64_t jobTasks = 0;
  Body jobBody = nullptr;
  void *jobContext = nullptr;

  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;
};

} // namespace sparse::runtime

#endif // SPARSE_RUNTIME_PARALLEL_H
