#include "core/parallel.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/fp_mode.h"

namespace tg {
namespace {

constexpr int kMaxThreads = 256;

// Cores a control group's quota pays for; kMaxThreads where there is no quota.
int quota_cores() {
  double quota = -1, period = 0;
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string word;
  if (v2 >> word >> period) {
    if (word != "max") quota = std::atof(word.c_str());
  } else {
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  }
  if (quota <= 0 || period <= 0) return kMaxThreads;
  return std::max(1, int(std::ceil(quota / period)));
}

int affinity_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, int(std::thread::hardware_concurrency()));
}

struct Job {
  void (*body)(void*, int64_t, int64_t);
  void* context;
  int64_t n, step;
  int parts;
  FpMode mode;

  void run(int part) const {
    const int64_t begin = part * step, end = std::min(n, begin + step);
    if (begin < end) body(context, begin, end);
  }
};

thread_local bool in_parallel = false;

// Worker w runs part w + 1 of each job; the caller runs part 0.
class Pool {
 public:
  // Spinning past the number of cores would only take them from the threads that work.
  explicit Pool(int cores) : cores_(cores) {}

  bool try_run(const Job& job) {
    std::unique_lock<std::mutex> busy(busy_, std::try_to_lock);
    if (!busy.owns_lock() || !start_workers(job.parts - 1)) return false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = job;
      spins_.store(job.parts <= cores_ ? 4000 : 0, std::memory_order_relaxed);
      pending_.store(job.parts - 1, std::memory_order_relaxed);
      epoch_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    job.run(0);
    const int spins = spins_.load(std::memory_order_relaxed);
    for (int i = 0; i < spins && pending_.load(std::memory_order_acquire) != 0; ++i) pause();
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [&] { return pending_.load(std::memory_order_acquire) == 0; });
    return true;
  }

 private:
  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    std::this_thread::yield();
#endif
  }

  bool start_workers(int count) {
    while (int(workers_.size()) < count) {
      const uint64_t seen = epoch_.load(std::memory_order_relaxed);
      try {
        workers_.emplace_back(&Pool::work, this, int(workers_.size()) + 1, seen);
        workers_.back().detach();
      } catch (const std::system_error&) {
        return false;  // no more threads to be had: the caller runs serially
      }
    }
    return true;
  }

  void work(int part, uint64_t seen) {
    in_parallel = true;
    for (;;) {
      const int spins = spins_.load(std::memory_order_relaxed);
      for (int i = 0; i < spins && epoch_.load(std::memory_order_acquire) == seen; ++i) pause();
      Job job;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return epoch_.load(std::memory_order_acquire) != seen; });
        seen = epoch_.load(std::memory_order_relaxed);
        job = job_;
      }
      if (part >= job.parts) continue;
      job.mode.apply();
      job.run(part);
      if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        std::lock_guard<std::mutex> lock(mutex_);
        done_.notify_one();
      }
    }
  }

  const int cores_;
  std::mutex busy_, mutex_;
  std::condition_variable wake_, done_;
  std::atomic<int> spins_{0};
  std::atomic<uint64_t> epoch_{0};
  std::atomic<int> pending_{0};
  Job job_{};
  std::vector<std::thread> workers_;
};

std::atomic<int> g_threads{0};
std::atomic<Pool*> g_pool{nullptr};

// Never destroyed: detached workers use it until the process ends. A forked child has no workers
// and makes a pool of its own.
Pool& pool() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] {
    g_pool.store(nullptr, std::memory_order_release);
    in_parallel = false;
  });
  (void)registered;
  Pool* p = g_pool.load(std::memory_order_acquire);
  if (p != nullptr) return *p;
  Pool* fresh = new Pool(default_num_threads());
  if (g_pool.compare_exchange_strong(p, fresh)) return *fresh;
  delete fresh;  // another thread was first; this one has no workers yet
  return *p;
}

}  // namespace

int default_num_threads() {
  static const int n = [] {
    if (const char* text = std::getenv("TILEGRAD_NUM_THREADS")) {
      const int asked = std::atoi(text);
      if (asked >= 1) return std::min(asked, kMaxThreads);
    }
    return std::min({affinity_cores(), quota_cores(), kMaxThreads});
  }();
  return n;
}

int num_threads() {
  const int n = g_threads.load(std::memory_order_relaxed);
  return n != 0 ? n : default_num_threads();
}

void set_num_threads(int n) {
  g_threads.store(std::min(std::max(n, 1), kMaxThreads), std::memory_order_relaxed);
}

void parallel_ranges(int64_t n, int64_t grain, void (*body)(void*, int64_t, int64_t),
                     void* context) {
  if (n <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int64_t units = (n - 1) / grain + 1;
  const int64_t parts = std::min<int64_t>(units, num_threads());
  if (parts > 1 && !in_parallel) {
    const int64_t step = ((units - 1) / parts + 1) * grain;
    in_parallel = true;  // a nested call runs serially instead of waiting for itself
    const bool ran = pool().try_run({body, context, n, step, int(parts), FpMode::current()});
    in_parallel = false;
    if (ran) return;
  }
  body(context, 0, n);
}

}  // namespace tg
