// The floating-point control word: denormals cannot slow an arithmetic kernel down.
#pragma once
#include <cstdint>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace tg {

struct FpMode {
  uint64_t word;

#if defined(__x86_64__)
  static FpMode current() { return {_mm_getcsr()}; }
  void apply() const { _mm_setcsr(uint32_t(word)); }
  FpMode flushing() const { return {word | 0x8040}; }  // flush-to-zero, denormals-are-zero
#elif defined(__aarch64__)
  static FpMode current() {
    FpMode m;
    __asm__ volatile("mrs %0, fpcr" : "=r"(m.word));
    return m;
  }
  void apply() const { __asm__ volatile("msr fpcr, %0" ::"r"(word)); }
  FpMode flushing() const { return {word | (uint64_t(1) << 24)}; }
#else
  static FpMode current() { return {0}; }
  void apply() const {}
  FpMode flushing() const { return *this; }
#endif
};

// For the length of a floating arithmetic kernel; never around compare, max/min, copy or cast.
class FlushDenormals {
 public:
  explicit FlushDenormals(bool on) : saved_(FpMode::current()), on_(on) {
    if (on_) saved_.flushing().apply();
  }
  ~FlushDenormals() {
    if (on_) saved_.apply();
  }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  const FpMode saved_;
  const bool on_;
};

}  // namespace tg
