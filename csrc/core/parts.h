// Cutting ranges into nearly equal parts.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

namespace tg {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Sizes of working memory: products stop at a value no machine has instead of wrapping.
constexpr int64_t kTooLarge = int64_t(1) << 58;
inline int64_t times(int64_t a, int64_t b) {
  int64_t n;
  return __builtin_mul_overflow(a, b, &n) || n > kTooLarge ? kTooLarge : n;
}
// Bytes of count elements, up to the next cache line.
template <class T>
int64_t bytes_of(int64_t count) {
  return (times(count, sizeof(T)) + 63) / 64 * 64;
}

// std::fill_n is compiled as it stands here, one element after the other.
template <class T>
void fill_zero(T* p, int64_t n) {
  if (n > 0) std::memset(p, 0, size_t(n) * sizeof(T));
}

struct Part {
  int64_t begin, count;
  int64_t end() const { return begin + count; }
};

// Part i of [0, n) cut into parts whose lengths differ by at most one.
inline Part part_of(int64_t n, int64_t parts, int64_t i) {
  const int64_t base = n / parts, longer = n % parts;
  return {i * base + std::min(i, longer), base + (i < longer)};
}

}  // namespace tg
