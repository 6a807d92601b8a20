// Lanes of float and double for code that is written once and compiled per instruction set.
//
//   Vec<T>   N values      load store set1, load_n store_n (first n lanes; the rest reads as zero)
//                          + - * / fma fnma min max sqrt abs neg copysign round floor ceil trunc
//   Mask<T>  N truth values, from < <= > >= == !=;  & | ^ ~ select any all
//   Int<T>   the same lanes as unsigned integers: bits_of from_bits + - & | ^ shl shr
//                          equal above (signed)
//
// min and max give their second operand when a comparison with NaN decides (as SSE does). fma(a, b,
// c) is a * b + c and fnma(a, b, c) is c - a * b, rounded once but for the generic lanes.
// Double lanes are half as many as float lanes: widen_low, widen_high, narrow.
// hsum and hmax fold the upper half onto the lower until one lane is left: a fixed tree.
//
// Everything lives in tg::TG_ISA. Code that includes this must not call inline functions of the
// standard library or of csrc/core: the linker would be free to keep the copy compiled for the
// newest CPU.
#pragma once
#include <cstdint>

#define TG_INLINE inline __attribute__((always_inline))

namespace tg {
namespace TG_ISA {

// Registers, and the rows of a product's tile of two vectors whose sums they hold.
#if defined(TG_ISA_avx512) || defined(TG_ISA_neon)
constexpr int kRegisters = 32, kTileRows = 14;
#else
constexpr int kRegisters = 16, kTileRows = 6;
#endif

template <class T>
struct Vec;
template <class T>
struct Mask;
template <class T>
struct Int;

// The integer as wide as T.
template <class T>
struct lane_bits;
template <>
struct lane_bits<float> {
  using type = uint32_t;
};
template <>
struct lane_bits<double> {
  using type = uint64_t;
};
template <class T>
using lane_bits_t = typename lane_bits<T>::type;

}  // namespace TG_ISA
}  // namespace tg

#if defined(TG_ISA_avx512)
#include "cpu/isa/vec_avx512.h"
#elif defined(TG_ISA_avx2)
#include "cpu/isa/vec_avx2.h"
#elif defined(TG_ISA_neon)
#include "cpu/isa/vec_neon.h"
#else
#include "cpu/isa/vec_generic.h"
#endif
