// Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
// Block b of a stream is philox(counter = offset + b, key): any part of it can be drawn alone.
#pragma once
#include <cstdint>

namespace tg {

constexpr int kPhiloxBlocks = 16;  // computed side by side, one SIMD lane each
constexpr int kPhiloxWords = 4 * kPhiloxBlocks;

// The words of kPhiloxBlocks consecutive blocks, from the block of this 64-bit counter.
inline void philox(uint64_t key, uint64_t counter, uint32_t* words) {
  constexpr int N = kPhiloxBlocks;
  uint32_t c0[N], c1[N], c2[N], c3[N];
  for (int i = 0; i < N; ++i) {
    const uint64_t c = counter + i;
    c0[i] = uint32_t(c);
    c1[i] = uint32_t(c >> 32);
    c2[i] = c3[i] = 0;
  }
  uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < N; ++i) {
      const uint64_t a = uint64_t(c0[i]) * 0xD2511F53u, b = uint64_t(c2[i]) * 0xCD9E8D57u;
      c0[i] = uint32_t(b >> 32) ^ c1[i] ^ k0;
      c2[i] = uint32_t(a >> 32) ^ c3[i] ^ k1;
      c1[i] = uint32_t(b);
      c3[i] = uint32_t(a);
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int i = 0; i < N; ++i) {
    words[4 * i] = c0[i];
    words[4 * i + 1] = c1[i];
    words[4 * i + 2] = c2[i];
    words[4 * i + 3] = c3[i];
  }
}

inline uint64_t word64(const uint32_t* words, int i) {
  return uint64_t(words[2 * i + 1]) << 32 | words[2 * i];
}

}  // namespace tg
