//===- Parallel.cpp - Running the tasks of a step -------------------------===//

#include "Parallel.h"

#include <chrono>

using namespace sparse::runtime;

// Longer than the gaps inside a step, shorter than what a person calls idle.
static constexpr auto spinTime = std::chrono::microseconds(100);

static inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

ThreadPool::ThreadPool(unsigned threads) {
  workers.reserve(threads);
  try {
    for (unsigned i = 1; i < threads; ++i)
      workers.emplace_back([this] { work(); });
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex);
    stopping = true;
  }
  wake.notify_all();
  for (std::thread &worker : workers)
    worker.join();
}

bool ThreadPool::takeOne() {
  int64_t left = tickets.load(std::memory_order_acquire);
  while (left > 0) {
    if (!tickets.compare_exchange_weak(left, left - 1,
                                       std::memory_order_acq_rel,
                                       std::memory_order_acquire))
      continue;
    jobBody(jobContext, jobTasks - left);
    done.fetch_add(1, std::memory_order_acq_rel);
    return true;
  }
  return false;
}

/// True when there is work before the spin time is over.
bool ThreadPool::spin() const {
  auto end = std::chrono::steady_clock::now() + spinTime;
  do {
    for (int i = 0; i < 32; ++i) {
      if (tickets.load(std::memory_order_relaxed) > 0)
        return true;
      pause();
    }
    if (stopping.load(std::memory_order_relaxed))
      return false;
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

void ThreadPool::work() {
  while (true) {
    while (takeOne()) {
    }
    if (spin())
      continue;
    std::unique_lock<std::mutex> lock(mutex);
    // Sequentially consistent on both sides: either we see the tickets or
    // `run` sees a sleeper and wakes it under the mutex.
    sleepers.fetch_add(1);
    wake.wait(lock, [&] { return stopping || tickets.load() > 0; });
    sleepers.fetch_sub(1);
    if (stopping)
      return;
  }
}

void ThreadPool::run(int64_t tasks, Body body, void *context) {
  if (tasks <= 0)
    return;
  if (tasks == 1 || workers.empty()) {
    for (int64_t task = 0; task < tasks; ++task)
      body(context, task);
    return;
  }
  jobTasks = tasks;
  jobBody = body;
  jobContext = context;
  done.store(0, std::memory_order_relaxed);
  tickets.store(tasks);
  if (sleepers.load() > 0) {
    { std::lock_guard<std::mutex> lock(mutex); }
    wake.notify_all();
  }
  while (takeOne()) {
  }
  // With more threads than processors the one we wait for may need ours.
  for (int i = 0; done.load(std::memory_order_acquire) != tasks; ++i) {
    if (i < 2000)
      pause();
    else
      std::this_thread::yield();
  }
}
