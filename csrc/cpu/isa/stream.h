// Stores past the caches, in whole lines of 64 bytes. core/stream.h says when, and fences.
#pragma once
#include "cpu/isa/vec.h"
#if defined(__SSE2__) && !defined(TG_ISA_avx512) && !defined(TG_ISA_avx2)
#include <immintrin.h>
#endif

namespace tg {
namespace TG_ISA {

// to is aligned to 64 bytes.
TG_INLINE void stream_line(char* to, const char* from) {
#if defined(TG_ISA_avx512)
  _mm512_stream_si512((__m512i*)to, _mm512_loadu_si512((const __m512i*)from));
#elif defined(TG_ISA_avx2)
  for (int i = 0; i < 64; i += 32)
    _mm256_stream_si256((__m256i*)(to + i), _mm256_loadu_si256((const __m256i*)(from + i)));
#elif defined(__SSE2__)
  for (int i = 0; i < 64; i += 16)
    _mm_stream_si128((__m128i*)(to + i), _mm_loadu_si128((const __m128i*)(from + i)));
#else
  __builtin_memcpy(to, from, 64);
#endif
}

// Bytes up to the next line.
TG_INLINE int64_t to_line(const char* p) { return -int64_t(uintptr_t(p)) & 63; }

// Any alignment; what does not fill a line is stored as usual.
inline void stream(char* to, const char* from, int64_t bytes) {
  int64_t i = to_line(to);
  if (i > bytes) i = bytes;
  __builtin_memcpy(to, from, i);
  for (; i + 64 <= bytes; i += 64) stream_line(to + i, from + i);
  __builtin_memcpy(to + i, from + i, bytes - i);
}

// The same, while the lines of another array, which comes next, are fetched.
inline void stream_ahead(char* to, const char* from, int64_t bytes, const char* next) {
  if (next == nullptr || to_line(to) != 0) return stream(to, from, bytes);
  int64_t i = 0;
  for (; i + 64 <= bytes; i += 64) {
    __builtin_prefetch(next + i);
    stream_line(to + i, from + i);
  }
  __builtin_memcpy(to + i, from + i, bytes - i);
}

}  // namespace TG_ISA
}  // namespace tg
