// Work in rounds, each of which needs all of the one before it, without a parallel_for per round.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "core/parallel.h"

namespace tg {

// Calls f(round, part) for every part of every round; a round begins when the one before has ended.
// A thread keeps to the part it began with (its caches hold what that needs) and takes others that
// nobody has begun, so that any number of threads gets to the end.
template <class F>
void parallel_rounds(int64_t rounds, int64_t parts, F&& f) {
  std::vector<std::atomic<int64_t>> claimed(static_cast<size_t>(parts));  // rounds begun, by part
  std::atomic<int64_t> ended{0};
  parallel_for(parts, 1, [&](int64_t begin, int64_t) {
    for (int64_t round = ended.load(std::memory_order_acquire) / parts; round < rounds; ++round) {
      for (int64_t k = 0; k < parts; ++k) {
        const int64_t part = (begin + k) % parts;
        int64_t before = round;
        if (!claimed[part].compare_exchange_strong(before, round + 1)) continue;
        f(round, part);
        ended.fetch_add(1, std::memory_order_acq_rel);
      }
      for (int spins = 0; ended.load(std::memory_order_acquire) < (round + 1) * parts; ++spins) {
#if defined(__x86_64__)
        if (spins < 2000) {
          __builtin_ia32_pause();
          continue;
        }
#endif
        std::this_thread::yield();
      }
    }
  });
}

}  // namespace tg
