#include "core/parallel.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>

#include "core/fp_mode.h"
#include "core/parts.h"

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

using Clock = std::chrono::steady_clock;
constexpr std::chrono::microseconds kSpin{400};  // waking a thread costs a tenth of this
constexpr std::chrono::microseconds kSpinAlone{50};
constexpr std::chrono::microseconds kWorthWaking{60};
constexpr int64_t kGrainsWorthWaking = 8;
constexpr int kPartsPerThread = 4;

// Threads take the parts of their own run of the range, then what the others have left, so that a
// thread that comes late or is held up delays nobody. Which thread computes a part changes no bits.
struct Job {
  void (*body)(void*, int64_t, int64_t);
  void* context;
  int64_t n, grain;
  int64_t grains;
  int parts, threads;
  FpMode mode;
  std::atomic<int> taken[kMaxThreads];

  template <class Before>
  void work(int self, const Before& before) {
    for (int k = 0; k < threads; ++k) {
      const int run = (self + k) % threads;
      const Part own = part_of(parts, threads, run);
      for (;;) {
        before();
        const int i = taken[run].fetch_add(1, std::memory_order_relaxed);
        if (i >= own.count) break;
        const Part part = part_of(grains, parts, own.begin + i);
        body(context, part.begin * grain, std::min(n, part.end() * grain));
      }
    }
  }
};

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Until done() or the time is up. Those who know that the other thread has something to do yield to
// it before long: it may be waiting for this core.
template <class Done>
bool spin(bool longer, bool yielding, const Done& done) {
  if (done()) return true;
  if (!longer) return false;
  const Clock::time_point began = Clock::now();
  for (;;) {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause();
    }
    const auto waited = Clock::now() - began;
    if (waited > kSpin) return false;
    if (yielding && waited > kSpinAlone) sched_yield();
  }
}

// What a worker is doing. It is offered a job, and takes it by going from offered to running; until
// then the caller may take the offer back. awaited: running, and the caller sleeps until it ends.
enum State : uint32_t { kIdle, kAsleep, kOffered, kRunning, kAwaited };

struct alignas(64) Slot {
  std::atomic<uint32_t> state{kIdle};
  std::atomic<pid_t> thread{0};
  std::atomic<int> core{-1};  // where it took its last job

  bool change(uint32_t from, uint32_t to) {
    return state.compare_exchange_strong(from, to, std::memory_order_acq_rel);
  }
  void wait(uint32_t while_state) {
    while (state.load(std::memory_order_acquire) == while_state)
      syscall(SYS_futex, &state, FUTEX_WAIT_PRIVATE, while_state, nullptr, nullptr, 0);
  }
  void wake() { syscall(SYS_futex, &state, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0); }
};

// Some schedulers put a thread that wakes on the core of the one that woke it, where it waits until
// that one is done. thread 0: the calling thread.
void keep_off(int core, pid_t thread) {
  cpu_set_t set;
  if (core < 0 || core >= CPU_SETSIZE || sched_getaffinity(0, sizeof set, &set) != 0) return;
  CPU_CLR(core, &set);
  if (CPU_COUNT(&set) > 0) sched_setaffinity(thread, sizeof set, &set);
}

thread_local bool in_parallel = false;

// The caller works as thread 0 beside worker threads 1, 2, ...
class Pool {
 public:
  // Spinning past the number of cores would only take them from the threads that work.
  explicit Pool(int cores) : cores_(cores) {}

  // False when another thread is using the pool.
  bool try_run(Job* job, int64_t grains) {
    const std::unique_lock<std::mutex> busy(busy_, std::try_to_lock);
    if (!busy.owns_lock()) return false;
    job->threads = 1 + start_workers(job->threads - 1);
    job_ = job;
    const bool spinning = job->threads <= cores_;
    spinning_.store(spinning, std::memory_order_relaxed);
    int asleep = 0;
    const int core = sched_getcpu();
    for (int w = 1; w < job->threads; ++w) {
      offered_[w] = slots_[w].change(kIdle, kOffered);
      asleep += !offered_[w];
      // The caller may have been moved to the core of a worker, which may be kept off all others.
      if (offered_[w] && spinning && slots_[w].core.load(std::memory_order_relaxed) == core)
        keep_off(core, slots_[w].thread.load(std::memory_order_relaxed));
    }
    const Clock::time_point began = asleep != 0 ? Clock::now() : Clock::time_point();
    // Threads that sleep are worth waking for long work and in the middle of a stream of calls.
    if (asleep != 0 && (grains >= kGrainsWorthWaking || began - last_ < kSpin)) wake(*job, &asleep);
    int done = -1;
    job->work(0, [&] {
      ++done;
      if (asleep == 0 || done == 0) return;
      const auto left = (Clock::now() - began) * (job->parts - done) / done;
      if (left > kWorthWaking) wake(*job, &asleep);
    });
    for (int w = 1; w < job->threads; ++w)
      if (offered_[w] && !slots_[w].change(kOffered, kIdle)) finish(&slots_[w], spinning);
    last_ = Clock::now();
    return true;
  }

 private:
  void wake(const Job& job, int* asleep) {
    *asleep = 0;
    const int core = sched_getcpu();
    for (int w = 1; w < job.threads; ++w) {
      if (offered_[w]) continue;
      // It may have woken by itself: an offer that was taken back has it look once more.
      offered_[w] = slots_[w].change(kIdle, kOffered);
      if (offered_[w]) continue;
      if (const pid_t thread = slots_[w].thread.load(std::memory_order_relaxed))
        keep_off(core, thread);
      offered_[w] = slots_[w].change(kAsleep, kOffered);
      slots_[w].wake();
    }
  }

  static void finish(Slot* slot, bool spinning) {
    const auto ended = [&] { return slot->state.load(std::memory_order_acquire) != kRunning; };
    if (!spin(spinning, true, ended) && slot->change(kRunning, kAwaited)) slot->wait(kAwaited);
  }

  // As many as there are to be had, at most count.
  int start_workers(int count) {
    while (workers_ < count) {
      try {
        std::thread(&Pool::work, this, workers_ + 1, sched_getcpu()).detach();
      } catch (const std::system_error&) {
        return workers_;
      }
      ++workers_;
    }
    return count;
  }

  void work(int self, int starter_core) {
    in_parallel = true;
    Slot& slot = slots_[self];
    slot.thread.store(pid_t(syscall(SYS_gettid)), std::memory_order_relaxed);
    keep_off(starter_core, 0);
    for (;;) {
      const auto offered = [&] { return slot.state.load(std::memory_order_acquire) == kOffered; };
      if (!spin(spinning_.load(std::memory_order_relaxed), false, offered) &&
          slot.change(kIdle, kAsleep))
        slot.wait(kAsleep);
      if (!slot.change(kOffered, kRunning)) continue;
      slot.core.store(sched_getcpu(), std::memory_order_relaxed);
      job_->mode.apply();
      job_->work(self, [] {});
      if (slot.state.exchange(kIdle, std::memory_order_acq_rel) == kAwaited) slot.wake();
    }
  }

  const int cores_;
  std::mutex busy_;
  std::atomic<bool> spinning_{false};
  Job* job_ = nullptr;
  Clock::time_point last_{};
  int workers_ = 0;
  bool offered_[kMaxThreads] = {};
  Slot slots_[kMaxThreads];
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

void parallel_ranges(int64_t n, int64_t grain, int64_t worth, void (*body)(void*, int64_t, int64_t),
                     void* context) {
  if (n <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int64_t grains = (n - 1) / grain + 1;
  const int threads = int(std::min<int64_t>(grains, num_threads()));
  if (threads > 1 && !in_parallel) {
    Job job;
    job.body = body;
    job.context = context;
    job.n = n;
    job.grain = grain;
    job.grains = grains;
    job.threads = threads;
    job.parts = int(std::min<int64_t>(grains, int64_t(threads) * kPartsPerThread));
    job.mode = FpMode::current();
    for (int i = 0; i < threads; ++i) job.taken[i].store(0, std::memory_order_relaxed);
    in_parallel = true;  // a nested call runs serially instead of waiting for itself
    const bool ran = pool().try_run(&job, worth != 0 ? worth : grains);
    in_parallel = false;
    if (ran) return;
  }
  body(context, 0, n);
}

}  // namespace tg
