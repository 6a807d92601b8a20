// Winograd convolution: what an instruction set provides. Channels are lanes.
//
// F(m, r) takes n = m + r - 1 inputs to m outputs with n products, along both axes of a plane; the
// gradient of the weight is F(r, m) with the same points (Winograd 1980; Lavin and Gray, "Fast
// Algorithms for Convolutional Neural Networks", 2016). Points of n = 6: 0, 2/3, -2/3, 3/2, -3/2
// and infinity, whose errors are 0.7 times those of 0, 1, -1, 1/2, -2 and infinity (a search over
// points c, -c, 1/c and -1/c as in Alam et al., "Winograd Convolution for Deep Neural Networks:
// Efficient Point Selection", 2022). Points of n = 4: 0, 1, -1 and infinity; of n = 5: these and
// 1/2.
//
// With stride 2 the taps 0 and 2 are F(4, 2) on every other input, 5 products, and tap 1 takes one
// product for each of the 4 outputs, all with the same weight: 9 products instead of 12.
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
  int64_t ahead;  // so far behind what is read of b, memory is asked for; not turned
};

// Vectors of one tile lie point apart, those of the next tile follow after tile.
struct WinogradTiles {
  float* data;
  int64_t tile, point;
};

// Transforms of tiles that follow each other in a row. A patch is [row][column][lanes] with the
// given number of elements per row.
struct WinogradTable {
  int n, r;      // products and taps, along each axis
  int weights;   // the products from the last of these on share its weight
  int in, step;  // inputs of a tile, and from tile to tile
  int m;         // outputs of a tile
  // Patches of in rows and step * (tiles - 1) + in columns, with room for n rows; overwritten.
  void (*input)(float* patch, int64_t pitch, int64_t tiles, const WinogradTiles& out);
  // Patches of m rows and m * tiles columns.
  void (*grad)(const float* patch, int64_t pitch, int64_t tiles, const WinogradTiles& out);
  // The same backwards, with one value per lane added.
  void (*output)(const WinogradTiles& in, int64_t tiles, const float* bias, float* patch,
                 int64_t pitch);
  // Vectors of r * r taps to weights * weights and back; rotated: taps in reverse.
  void (*weight)(const float* taps, bool rotated, float* out, int64_t point);
  void (*grad_weight)(const float* in, int64_t point, float* taps);
};

struct WinogradKernels {
  int lanes;
  int panel;  // columns of a product worth keeping together
  int rows;   // and rows
  void (*product)(const WinogradProduct&);
  WinogradTable two_three, four_three, two_five, four_three_by_2, four_three_by_2_back;
};

}  // namespace tg
