// One thread pool. Which elements a call computes never depends on the number of threads.
#pragma once
#include <cstdint>
#include <type_traits>

namespace tg {

int num_threads();
void set_num_threads(int n);  // n >= 1; more than cores is allowed
int default_num_threads();    // affinity, control group quota, TILEGRAD_NUM_THREADS

// Calls body(context, begin, end) on disjoint ranges covering [0, n), each a multiple of grain but
// the last. A grain is worth about ten microseconds; where it is not, worth says how many such
// pieces the whole is. Small work, nested calls and calls while the pool is busy run on the calling
// thread. The body must not throw. Workers take over the caller's floating-point control word.
void parallel_ranges(int64_t n, int64_t grain, int64_t worth, void (*body)(void*, int64_t, int64_t),
                     void* context);

template <class F>
void parallel_for(int64_t n, int64_t grain, F&& f, int64_t worth = 0) {
  using Body = std::remove_reference_t<F>;
  parallel_ranges(
      n, grain, worth,
      [](void* c, int64_t begin, int64_t end) { (*static_cast<Body*>(c))(begin, end); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

}  // namespace tg
