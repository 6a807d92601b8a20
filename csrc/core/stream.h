// Results so large that the caches would not hold them until they are read.
#pragma once
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace tg {

// In bytes; 0 where it is not known. The kernel's word comes first: on virtual machines sysconf was
// seen to count the caches of all cores of the host, ten times what there was.
inline int64_t last_level_cache() {
  long kib = 0;
  if (FILE* f = std::fopen("/sys/devices/system/cpu/cpu0/cache/index3/size", "r")) {
    if (std::fscanf(f, "%ldK", &kib) != 1) kib = 0;
    std::fclose(f);
  }
#if defined(_SC_LEVEL3_CACHE_SIZE)
  if (kib <= 0) return std::max<int64_t>(sysconf(_SC_LEVEL3_CACHE_SIZE), 0);
#endif
  return int64_t(kib) << 10;
}

// Whether a result of so many bytes should be stored past the caches (cpu/isa/stream.h): fetching
// its lines only to overwrite them is a third of a copy's traffic.
inline bool past_caches(int64_t bytes) {
  static const int64_t least = std::max<int64_t>(last_level_cache() / 2, int64_t(8) << 20);
  return bytes >= least;
}

// Before another thread may read what was stored past the caches.
inline void stream_fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace tg
