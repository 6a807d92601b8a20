// Matrix product and convolution: what an instruction set provides.
//
// One element of C is always summed the same way: blocks of kc terms, each one chain of fused
// multiply-adds in order of k, and the blocks added in order. Tile sizes never change its bits.
#pragma once
#include <cstdint>

#include "core/view.h"

namespace tg {

constexpr int kMaxTileRows = 14;
constexpr int kMaxWideRows = 6;
constexpr int kFewRows = 3;
constexpr int kMaxDotRows = 4, kMaxDotCols = 6;
constexpr int kMaxTapRows = 3;

// Where the sums of a tile go: c[i * ldc + j] = sum (+ add), j < n.
template <class T>
struct TileSink {
  T* c;
  int64_t ldc;
  int64_t n;
  const T* add;     // nullptr: nothing is added
  int64_t add_row;  // row stride of add: ldc to accumulate, 1 for one value per row, 0 per column
  bool add_lanes;   // add has one value per column; else one per row
};

// Sums over p < k of a[p * rows + i] * b[offset[p] + j], or of a[offset[p] + i] * b[p * width + j].
// b is read in whole vectors: up to the tile's width past offset[p] must be readable. The same
// vectors `ahead` of b are fetched into the caches.
template <class T>
struct TileArgs : TileSink<T> {
  int64_t k;
  const T* a;
  const T* b;
  const int64_t* offset;
  int64_t ahead = 0;
};

// Sums over p < k of a(i, p) * b[p * b_pitch + j], where a(i, p) is a[i * a_pitch + p] or
// a[p * a_pitch + i]. Nothing past the n-th column is read.
template <class T>
struct PlainTile : TileSink<T> {
  int64_t k;
  const T* a;
  int64_t a_pitch;
  const T* b;
  int64_t b_pitch;
};

// sums[i * ld + j] += over p < k of a[i * a_row + p * a_term] * b[p * b_pitch + j], j < n, for up
// to kFewRows rows: b is read row after row.
template <class T>
struct FewRows {
  int64_t k, n;
  const T* a;
  int64_t a_row, a_term;
  const T* b;
  int64_t b_pitch;
  T* sums;
  int64_t ld;
};

// out[i * ld + j] (+)= sum over r < runs, p < len of a[a_offset[i] + r * a_pitch + p] *
// b[b_offset[j] + r * b_pitch + p]: lanes first, then hsum. With vectors, out holds the lanes
// themselves, which are always added to; fold does the hsum of many of them at last.
template <class T>
struct DotArgs {
  int64_t len, runs;
  const T* a;
  const int64_t* a_offset;
  int64_t a_pitch;
  const T* b;
  const int64_t* b_offset;
  int64_t b_pitch;
  T* out;
  int64_t ld;
  bool accumulate, vectors;
};

// out[(i * taps + t) * ld + l] += sum over y < rows, x < width of a[a_offset[i] + y * a_pitch + x +
// t]
// * b[(y * width + x) * lanes + l], for every lane l: t counts the taps of a row.
template <class T>
struct TapSums {
  int64_t rows, width;
  const T* a;
  const int64_t* a_offset;
  int64_t a_pitch;
  const T* b;
  T* out;
  int64_t ld;
};

// to[x] = sum over i < k of src[offset[i] + x - first[i]], where that is one of `count` elements;
// for x < width. Nothing else is read.
template <class T>
struct FoldRows {
  T* to;
  int64_t width, count, k;
  const T* src;
  const int64_t *offset, *first;
};

// Rows of a padded image: row r of dst is `before` zeros, count elements src[r * src_pitch + i *
// src_step], and `after` zeros.
template <class T>
struct CopyRows {
  T* dst;
  int64_t dst_pitch;
  const T* src;
  int64_t src_pitch, src_step;
  int64_t rows, before, count, after;
};

template <class T>
struct GemmTable {
  int lanes;
  int rows;                // of the largest tile
  int narrow, full, wide;  // columns of the three kinds of tiles: 1, 2 and 4 vectors
  int wide_rows;           // wide tiles have at most this many rows
  int kc;
  int dot_rows, dot_cols;
  void (*tile_narrow[kMaxTileRows])(const TileArgs<T>&);  // by rows - 1
  void (*tile_full[kMaxTileRows])(const TileArgs<T>&);
  void (*tile_wide[kMaxWideRows])(const TileArgs<T>&);
  void (*lanes_narrow[kMaxTileRows])(const TileArgs<T>&);  // offsets belong to a
  void (*lanes_full[kMaxTileRows])(const TileArgs<T>&);
  void (*plain_narrow[2][kMaxTileRows])(const PlainTile<T>&);  // rows or terms of A contiguous
  void (*plain_full[2][kMaxTileRows])(const PlainTile<T>&);
  void (*plain_wide[2][kMaxWideRows])(const PlainTile<T>&);
  void (*few_rows[kFewRows])(const FewRows<T>&);
  void (*dot[kMaxDotRows][kMaxDotCols])(const DotArgs<T>&);
  // Of 3, 5 or 7 taps, by the rows of them that share b - 1; nullptr where registers are too few.
  void (*taps3[kMaxTapRows])(const TapSums<T>&);
  void (*taps5[kMaxTapRows])(const TapSums<T>&);
  void (*taps7[kMaxTapRows])(const TapSums<T>&);
  void (*fold)(const T* vectors, T* out, int64_t n);
  // dst[p * ld + l] = src[l * lane_stride + p * k_stride] for l < count, p < k.
  void (*pack)(T* dst, int64_t ld, const T* src, int64_t lane_stride, int64_t k_stride,
               int64_t count, int64_t k);
  // dst[p * width + j] = src[offset[p] + j] for j < width (a multiple of lanes), p < k.
  void (*gather)(T* dst, int64_t width, const T* src, const int64_t* offset, int64_t k);
  void (*copy_rows)(const CopyRows<T>&);
  void (*fold_rows)(const FoldRows<T>&);
};

// n elements from storage to float and back, rounding to nearest even.
template <class S>
struct HalfTable {
  void (*widen)(float* dst, const S* src, int64_t n);
  void (*narrow)(S* dst, const float* src, int64_t n);
};

// Products of bfloat16 by instructions that add two of them at once: an element of A or B is a pair
// of terms in the bits of a float, the first one lower; C is float.
struct PairTable {
  GemmTable<float> gemm;
  // dst[q * ld + l] = the terms 2 q and 2 q + 1 of lane l, zero from the k-th on, for l < count.
  void (*pack)(float* dst, int64_t ld, const bfloat16* src, int64_t lane_stride, int64_t k_stride,
               int64_t count, int64_t k);
  // dst[i] = low[i] and high[i], which is zero where high is nullptr.
  void (*join)(float* dst, const bfloat16* low, const bfloat16* high, int64_t n);
};

struct GemmKernels {
  GemmTable<float> f32;
  GemmTable<double> f64;
  HalfTable<half> f16;
  HalfTable<bfloat16> bf16;
  const PairTable* pairs;  // nullptr where there are no such instructions
};

inline const GemmTable<float>& gemm_table(const GemmKernels& g, float) { return g.f32; }
inline const GemmTable<double>& gemm_table(const GemmKernels& g, double) { return g.f64; }

inline const HalfTable<half>& half_table(const GemmKernels& g, half) { return g.f16; }
inline const HalfTable<bfloat16>& half_table(const GemmKernels& g, bfloat16) { return g.bf16; }

}  // namespace tg
