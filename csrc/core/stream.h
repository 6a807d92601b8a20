// Results so large that the caches would not hold them until they are read.
#pragma once
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace tg {

// Whether a result of so many bytes should be stored past the caches (cpu/isa/stream.h): fetching
// its lines only to overwrite them is a third of a copy's traffic.
inline bool past_caches(int64_t bytes) {
  static const int64_t least = [] {
#if defined(_SC_LEVEL3_CACHE_SIZE)
    const int64_t last_level = sysconf(_SC_LEVEL3_CACHE_SIZE);
#else
    const int64_t last_level = 0;
#endif
    return std::max<int64_t>(last_level / 2, int64_t(8) << 20);
  }();
  return bytes >= least;
}

// Before another thread may read what was stored past the caches.
inline void stream_fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace tg
