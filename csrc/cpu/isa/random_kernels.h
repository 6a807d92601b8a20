// Random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
// 1, 2, 3", 2011). Block b of a stream is philox(counter = offset + b, key), four words; any part
// of it can be drawn alone. Every instruction set gives the same bits.
#pragma once
#include <cstdint>

namespace tg {

// From this block on.
struct PhiloxStream {
  uint64_t key, block;
};

// Elements are kept whose uniform of 24 bits is not below the threshold.
struct DropNumbers {
  uint32_t threshold;
  double scale;  // of what is kept
};

// The first n elements of a stream, by dtype: float16, bfloat16, float32, float64. An element is
// one word, of float64 and int64 two.
struct RandomKernels {
  void (*uniform[4])(PhiloxStream s, void* y, int64_t n);
  void (*normal[4])(PhiloxStream s, void* y, int64_t n);
  void (*integers)(PhiloxStream s, int64_t low, uint64_t range, int64_t* y, int64_t n);
  void (*dropout[4])(PhiloxStream s, const DropNumbers& d, const void* x, void* y, int64_t n);
  void (*keep)(PhiloxStream s, uint32_t threshold, uint8_t* y, int64_t n);
  // What dropout multiplies by; elements [skip, skip + n) of the stream.
  void (*factors_f32)(PhiloxStream s, const DropNumbers& d, int skip, float* y, int64_t n);
  void (*factors_f64)(PhiloxStream s, const DropNumbers& d, int skip, double* y, int64_t n);
};

}  // namespace tg
