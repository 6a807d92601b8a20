// Winograd convolution: what an instruction set provides. Channels are lanes.
//
// F(m, r) takes n = m + r - 1 inputs to m outputs with n products, along both axes of a plane; the
// gradient of the weight is F(r, m) with the same points (Winograd 1980; Lavin and Gray, "Fast
// Algorithms for Convolutional Neural Networks", 2016). Points of n = 6: 0, 1, -1, 1/2, -2 and
// infinity (Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution for
// Deep Neural Networks", 2020). Points of n = 4: 0, 1, -1 and infinity.
#pragma once
#include <cstdint>

namespace tg {

// c (m x n) (+)= a (m x k) b (k x n), n a multiple of lanes. Element (i, p) of a is a[i * a_ld +
// p], or turned a[p * a_ld + i]. One chain of fused multiply-adds over k.
struct WinogradProduct {
  int64_t m, n, k;
  const float* a;
  int64_t a_ld;
  bool turned;
  const float* b;
  int64_t b_ld;
  float* c;
  int64_t c_ld;
  bool accumulate;
};

// Vectors of one tile lie point apart, those of the next tile follow after tile.
struct WinogradTiles {
  float* data;
  int64_t tile, point;
};

// Transforms of tiles that follow each other in a row. A patch is [row][column][lanes] with the
// given number of elements per row.
struct WinogradTable {
  int m, n, r;
  // Patches of n rows and m * tiles + r - 1 columns; overwritten.
  void (*input)(float* patch, int64_t pitch, int64_t tiles, const WinogradTiles& out);
  // Patches of m rows and m * tiles columns.
  void (*grad)(const float* patch, int64_t pitch, int64_t tiles, const WinogradTiles& out);
  // The same backwards, with one value per lane added.
  void (*output)(const WinogradTiles& in, int64_t tiles, const float* bias, float* patch,
                 int64_t pitch);
  // Vectors of r * r taps to n * n and back; rotated: taps in reverse.
  void (*weight)(const float* taps, bool rotated, float* out, int64_t point);
  void (*grad_weight)(const float* in, int64_t point, float* taps);
};

struct WinogradKernels {
  int lanes;
  int panel;  // columns of a product worth keeping together
  void (*product)(const WinogradProduct&);
  WinogradTable two_three, four_three, two_five;
};

}  // namespace tg
