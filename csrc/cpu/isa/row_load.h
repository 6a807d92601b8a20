// Elements of any dtype and stride, in contiguous blocks of the type arithmetic is done in.
#pragma once
#include "cpu/isa/row.h"
#include "cpu/isa/vec.h"
#include "cpu/isa/vec_half.h"

namespace tg {
namespace TG_ISA {

template <class A, class B>
struct is_same {
  static constexpr bool value = false;
};
template <class A>
struct is_same<A, A> {
  static constexpr bool value = true;
};

// bool as it is stored: any byte but 0 is true.
struct truth {
  uint8_t byte;
};

// Elements per block: the leaf of every reduction tree.
template <class C>
constexpr int kBlock = 64 * Vec<C>::N;

template <class T>
TG_INLINE T smaller(T a, T b) {
  return a < b ? a : b;
}

template <class T>
TG_INLINE T read(const char* p) {
  T x;
  __builtin_memcpy(&x, p, sizeof(T));
  return x;
}
template <class T>
TG_INLINE void write(char* p, T x) {
  __builtin_memcpy(p, &x, sizeof(T));
}

template <class T>
TG_INLINE void read_run(const char* p, int64_t stride, int n, compute_t<T>* out) {
  if (stride != int64_t(sizeof(T)))
    for (int i = 0; i < n; ++i) out[i] = compute<T>::load(read<T>(p + i * stride));
  else if constexpr (is_same<T, compute_t<T>>::value)
    __builtin_memcpy(out, p, n * sizeof(T));
  else
    widen_block(out, reinterpret_cast<const T*>(p), n);
}

// True where the memory itself is a block, so that no copy is needed.
template <class T>
TG_INLINE bool direct(int64_t stride) {
  return is_same<T, compute_t<T>>::value && stride == int64_t(sizeof(T));
}

template <class T>
TG_INLINE const compute_t<T>* fetch(const char* p, int64_t stride, int n, compute_t<T>* buffer) {
  if (direct<T>(stride)) return reinterpret_cast<const compute_t<T>*>(p);
  read_run<T>(p, stride, n, buffer);
  return buffer;
}

// Calls f(p, n) for the runs along the innermost axis that cover the elements [begin, end).
template <class F>
TG_INLINE void for_runs(const Sequence& s, const char* x, int64_t begin, int64_t end, F&& f) {
  if (begin >= end) return;
  const int last = s.ndim - 1;
  const int64_t* stride = s.stride[0];
  if (last == 0) return f(x + begin * stride[0], end - begin);
  const int64_t length = s.size[last];
  int64_t index[kMaxDims], rest = begin / length, at = begin % length;
  for (int i = last - 1; i >= 0; --i) {
    index[i] = rest % s.size[i];
    rest /= s.size[i];
    x += index[i] * stride[i];
  }
  for (int64_t done = begin;;) {
    const int64_t n = smaller(length - at, end - done);
    f(x + at * stride[last], n);
    done += n;
    if (done >= end) return;
    at = 0;
    for (int i = last - 1; i >= 0; --i) {
      x += stride[i];
      if (++index[i] < s.size[i]) break;
      x -= index[i] * stride[i];
      index[i] = 0;
    }
  }
}

constexpr int kSideBySide = 16;  // sequences that a row kernel walks together, at most

// For each of outs sequences step apart calls f(o, block, n) with its elements [begin, end) in
// order, n <= kBlock. Short runs are gathered until a block is full. The sequences are walked
// together: their runs are neighbours in memory.
template <class T, class F>
TG_INLINE void for_blocks(const Sequence& s, const char* x, int64_t step, int outs, int64_t begin,
                          int64_t end, F&& f) {
  using C = compute_t<T>;
  constexpr int block = kBlock<C>;
  C buffer[kSideBySide][block];
  int filled[kSideBySide] = {};
  const int64_t stride = s.stride[0][s.ndim - 1];
  const bool plain = direct<T>(stride), whole = plain && s.ndim == 1;
  for_runs(s, x, begin, end, [&](const char* run, int64_t length) {
    for (int o = 0; o < outs; ++o) {
      const char* p = run + o * step;
      int64_t n = length;
      const bool in_place = whole || (plain && filled[o] == 0 && n >= block / 4);
      while (n > 0) {
        const int m = int(smaller<int64_t>(n, block - filled[o]));
        if (in_place) {
          f(o, reinterpret_cast<const C*>(p), m);
        } else {
          read_run<T>(p, stride, m, buffer[o] + filled[o]);
          filled[o] += m;
          if (filled[o] == block) {
            f(o, buffer[o], block);
            filled[o] = 0;
          }
        }
        p += m * stride;
        n -= m;
      }
    }
  });
  for (int o = 0; o < outs; ++o)
    if (filled[o] > 0) f(o, buffer[o], filled[o]);
}

}  // namespace TG_ISA
}  // namespace tg
