#include "cpu/isa/vec.h"
#include "cpu/isa/winograd_kernels.h"

namespace tg {
namespace TG_ISA {
namespace {

using V = Vec<float>;
TG_INLINE V num(float x) { return V::set1(x); }

// One-dimensional transforms in registers. IN inputs, STEP of them from tile to tile, N products, M
// outputs, R taps with W distinct values in the products.
template <int OUT, int TAPS>
struct Dense {
  static constexpr int M = OUT, R = TAPS, N = M + R - 1, IN = N, STEP = M, W = N;
};

struct F2x3 : Dense<2, 3> {
  static TG_INLINE void input(const V (&d)[4], V (&v)[4]) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[1] - d[3];
  }
  static TG_INLINE void output(const V (&m)[4], V (&y)[2]) {
    y[0] = m[0] + (m[1] + m[2]);
    y[1] = m[1] - m[2] - m[3];
  }
  static TG_INLINE void weight(const V (&g)[3], V (&u)[4]) {
    const V half = num(0.5f), s = (g[0] + g[2]) * half, t = g[1] * half;
    u[0] = g[0];
    u[1] = s + t;
    u[2] = s - t;
    u[3] = g[2];
  }
  static TG_INLINE void grad(const V (&g)[2], V (&u)[4]) {
    u[0] = g[0];
    u[1] = g[0] + g[1];
    u[2] = g[0] - g[1];
    u[3] = g[1];
  }
  static TG_INLINE void grad_weight(const V (&m)[4], V (&w)[3]) {
    const V half = num(0.5f), s = (m[1] + m[2]) * half;
    w[0] = m[0] + s;
    w[1] = (m[1] - m[2]) * half;
    w[2] = s - m[3];
  }
};

// The points a = 2/3, -a, b = 1/a and -b; N is the product of a point's distances from the others.
struct F4x3 : Dense<4, 3> {
  static constexpr double kA = 2.0 / 3.0, kB = 1.5, kA2 = kA * kA, kB2 = kB * kB;
  static constexpr double kNa = 2 * kA2 * (kA2 - kB2), kNb = 2 * kB2 * (kB2 - kA2);
  static TG_INLINE V c(double x) { return num(static_cast<float>(x)); }

  static TG_INLINE void input(const V (&d)[6], V (&v)[6]) {
    const V p = fma(c(-kB2), d[2], d[4]), q = fma(c(-kB), d[1], c(kA) * d[3]);
    const V r = fma(c(-kA2), d[2], d[4]), s = fma(c(-kA), d[1], c(kB) * d[3]);
    v[0] = fma(c(-kA2 - kB2), d[2], d[0] + d[4]);
    v[1] = p + q;
    v[2] = p - q;
    v[3] = r + s;
    v[4] = r - s;
    v[5] = fma(c(-kA2 - kB2), d[3], d[1] + d[5]);
  }
  static TG_INLINE void output(const V (&m)[6], V (&y)[4]) {
    const V p = m[1] + m[2], q = m[1] - m[2], r = m[3] + m[4], s = m[3] - m[4];
    y[0] = m[0] + (p + r);
    y[1] = fma(c(kB), s, c(kA) * q);
    y[2] = fma(c(kB2), r, c(kA2) * p);
    y[3] = fma(c(kB2 * kB), s, fma(c(kA2 * kA), q, m[5]));
  }
  static TG_INLINE void weight(const V (&g)[3], V (&u)[6]) {
    u[0] = g[0];
    pair(c(1 / kNa) * fma(c(kA2), g[2], g[0]), c(kA / kNa) * g[1], u + 1);
    pair(c(1 / kNb) * fma(c(kB2), g[2], g[0]), c(kB / kNb) * g[1], u + 3);
    u[5] = g[2];
  }
  static TG_INLINE void grad(const V (&g)[4], V (&u)[6]) {
    u[0] = g[0];
    pair(fma(c(kA2), g[2], g[0]), c(kA) * fma(c(kA2), g[3], g[1]), u + 1);
    pair(fma(c(kB2), g[2], g[0]), c(kB) * fma(c(kB2), g[3], g[1]), u + 3);
    u[5] = g[3];
  }
  static TG_INLINE void grad_weight(const V (&m)[6], V (&w)[3]) {
    const V p = c(1 / kNa) * (m[1] + m[2]), q = c(1 / kNa) * (m[1] - m[2]);
    const V r = c(1 / kNb) * (m[3] + m[4]), s = c(1 / kNb) * (m[3] - m[4]);
    w[0] = m[0] + (p + r);
    w[1] = fma(c(kB), s, c(kA) * q);
    w[2] = fma(c(kB2), r, fma(c(kA2), p, m[5]));
  }
  // Values at a point and at its negative, from their even and odd parts.
  static TG_INLINE void pair(V even, V odd, V* u) {
    u[0] = even + odd;
    u[1] = even - odd;
  }
};

// The points of F(4, 3) serve F(2, 5) as well.
struct F2x5 : Dense<2, 5> {
  static constexpr double kA = F4x3::kA, kB = F4x3::kB, kA2 = F4x3::kA2, kB2 = F4x3::kB2;
  static constexpr double kNa = F4x3::kNa, kNb = F4x3::kNb;
  static TG_INLINE V c(double x) { return F4x3::c(x); }

  static TG_INLINE void input(const V (&d)[6], V (&v)[6]) { F4x3::input(d, v); }
  static TG_INLINE void output(const V (&m)[6], V (&y)[2]) {
    y[0] = m[0] + ((m[1] + m[2]) + (m[3] + m[4]));
    y[1] = fma(c(kB), m[3] - m[4], fma(c(kA), m[1] - m[2], m[5]));
  }
  static TG_INLINE void weight(const V (&g)[5], V (&u)[6]) {
    u[0] = g[0];
    F4x3::pair(c(1 / kNa) * fma(c(kA2), fma(c(kA2), g[4], g[2]), g[0]),
               c(kA / kNa) * fma(c(kA2), g[3], g[1]), u + 1);
    F4x3::pair(c(1 / kNb) * fma(c(kB2), fma(c(kB2), g[4], g[2]), g[0]),
               c(kB / kNb) * fma(c(kB2), g[3], g[1]), u + 3);
    u[5] = g[4];
  }
  static TG_INLINE void grad(const V (&g)[2], V (&u)[6]) {
    u[0] = g[0];
    F4x3::pair(g[0], c(kA) * g[1], u + 1);
    F4x3::pair(g[0], c(kB) * g[1], u + 3);
    u[5] = g[1];
  }
  static TG_INLINE void grad_weight(const V (&m)[6], V (&w)[5]) {
    const V p = c(1 / kNa) * (m[1] + m[2]), q = c(kA / kNa) * (m[1] - m[2]);
    const V r = c(1 / kNb) * (m[3] + m[4]), s = c(kB / kNb) * (m[3] - m[4]);
    w[0] = m[0] + (p + r);
    w[1] = q + s;
    w[2] = fma(c(kB2), r, c(kA2) * p);
    w[3] = fma(c(kB2), s, c(kA2) * q);
    w[4] = fma(c(kB2 * kB2), r, fma(c(kA2 * kA2), p, m[5]));
  }
};

// Stride 2: the taps 0 and 2 are F(4, 2) on every other input, tap 1 multiplies the others as they
// are.
struct F4x3By2 {
  static constexpr int M = 4, R = 3, N = 9, IN = 9, STEP = 8, W = 6;
  static TG_INLINE void even(V d0, V d1, V d2, V d3, V d4, V* v) {
    const V half = num(0.5f), b = d3 - d1;
    v[0] = fma(num(2.0f), b, d0 - d2);
    v[1] = fma(half, d2 - d1, d3);
    v[2] = fma(num(-1.5f), d2, fma(half, d1, d3));
    v[3] = b;
    v[4] = fma(num(-0.5f), b, d4 - d2);
  }
  static TG_INLINE void input(const V (&d)[9], V (&v)[9]) {
    even(d[0], d[2], d[4], d[6], d[8], v);
    v[5] = d[1];
    v[6] = d[3];
    v[7] = d[5];
    v[8] = d[7];
  }
  static TG_INLINE void even_output(const V (&m)[9], V* y, int step) {
    const V s = m[1] + m[2], t = m[1] - m[2];
    y[0] = m[0] + (s + m[3]);
    y[step] = fma(num(0.5f), m[3], t);
    y[2 * step] = fma(num(0.25f), m[3], s);
    y[3 * step] = fma(num(0.125f), m[3], t + m[4]);
  }
  static TG_INLINE void output(const V (&m)[9], V (&y)[4]) {
    even_output(m, y, 1);
    y[0] = y[0] + m[5];
    y[1] = y[1] + m[6];
    y[2] = y[2] + m[7];
    y[3] = y[3] + m[8];
  }
  static TG_INLINE void weight(const V (&g)[3], V (&u)[6]) {
    u[0] = g[0];
    u[1] = g[0] + g[2];
    u[2] = (g[2] - g[0]) * num(1.0f / 3.0f);
    u[3] = num(-8.0f / 3.0f) * fma(num(0.5f), g[2], g[0]);
    u[4] = g[2];
    u[5] = g[1];
  }
  static TG_INLINE void grad(const V (&g)[4], V (&u)[9]) {
    const V s = g[0] + g[2], t = g[1] + g[3];
    u[0] = g[0];
    u[1] = s + t;
    u[2] = s - t;
    u[3] = fma(num(0.25f), g[2], g[0]) + num(0.5f) * fma(num(0.25f), g[3], g[1]);
    u[4] = g[3];
    u[5] = g[0];
    u[6] = g[1];
    u[7] = g[2];
    u[8] = g[3];
  }
  static TG_INLINE void grad_weight(const V (&m)[6], V (&w)[3]) {
    const V p = num(-1.0f / 3.0f) * m[2], q = num(-8.0f / 3.0f) * m[3];
    w[0] = (m[0] + m[1]) + (p + q);
    w[1] = m[5];
    w[2] = fma(num(0.5f), q, (m[1] - p) + m[4]);
  }
};

// Its gradient of the input: tap 1 alone makes every other value, the others are F(4, 2).
struct F4x3By2Back : F4x3By2 {
  static constexpr int M = 8, IN = 5, STEP = 4;
  static TG_INLINE void input(const V (&d)[5], V (&v)[9]) {
    even(d[0], d[1], d[2], d[3], d[4], v);
    v[5] = d[0];
    v[6] = d[1];
    v[7] = d[2];
    v[8] = d[3];
  }
  static TG_INLINE void output(const V (&m)[9], V (&y)[8]) {
    even_output(m, y + 1, 2);
    y[0] = m[5];
    y[2] = m[6];
    y[4] = m[7];
    y[6] = m[8];
  }
};

template <class F>
void input(float* patch, int64_t pitch, int64_t tiles, const WinogradTiles& out) {
  constexpr int IN = F::IN, STEP = F::STEP, N = F::N, L = V::N;
  for (int64_t x = 0; x < STEP * tiles + IN - STEP; ++x) {
    V d[IN], v[N];
    float* column = patch + x * L;
#pragma GCC unroll 9
    for (int r = 0; r < IN; ++r) d[r] = V::load(column + r * pitch);
    F::input(d, v);
#pragma GCC unroll 9
    for (int r = 0; r < N; ++r) v[r].store(column + r * pitch);
  }
  for (int64_t t = 0; t < tiles; ++t)
    for (int r = 0; r < N; ++r) {
      const float* row = patch + r * pitch + t * STEP * L;
      float* to = out.data + t * out.tile + r * N * out.point;
      V d[IN], v[N];
#pragma GCC unroll 9
      for (int x = 0; x < IN; ++x) d[x] = V::load(row + x * L);
      F::input(d, v);
#pragma GCC unroll 9
      for (int x = 0; x < N; ++x) v[x].store(to + x * out.point);
    }
}

template <class F>
void grad(const float* patch, int64_t pitch, int64_t tiles, const WinogradTiles& out) {
  constexpr int M = F::M, N = F::N, L = V::N;
  for (int64_t t = 0; t < tiles; ++t) {
    V columns[M][N];
#pragma GCC unroll 9
    for (int x = 0; x < M; ++x) {
      V g[M];
#pragma GCC unroll 9
      for (int r = 0; r < M; ++r) g[r] = V::load(patch + r * pitch + (t * M + x) * L);
      F::grad(g, columns[x]);
    }
#pragma GCC unroll 9
    for (int r = 0; r < N; ++r) {
      V g[M], u[N];
#pragma GCC unroll 9
      for (int x = 0; x < M; ++x) g[x] = columns[x][r];
      F::grad(g, u);
      float* to = out.data + t * out.tile + r * N * out.point;
#pragma GCC unroll 9
      for (int x = 0; x < N; ++x) u[x].store(to + x * out.point);
    }
  }
}

template <class F>
void output(const WinogradTiles& in, int64_t tiles, const float* bias, float* patch,
            int64_t pitch) {
  constexpr int M = F::M, N = F::N, L = V::N;
  const V add = V::load(bias);
  for (int64_t t = 0; t < tiles; ++t) {
    V columns[N][M];
#pragma GCC unroll 9
    for (int x = 0; x < N; ++x) {
      V m[N];
      const float* from = in.data + t * in.tile + x * in.point;
#pragma GCC unroll 9
      for (int r = 0; r < N; ++r) m[r] = V::load(from + r * N * in.point);
      F::output(m, columns[x]);
    }
#pragma GCC unroll 9
    for (int r = 0; r < M; ++r) {
      V m[N], y[M];
#pragma GCC unroll 9
      for (int x = 0; x < N; ++x) m[x] = columns[x][r];
      F::output(m, y);
#pragma GCC unroll 9
      for (int x = 0; x < M; ++x) (y[x] + add).store(patch + r * pitch + (t * M + x) * L);
    }
  }
}

template <class F>
void weight(const float* taps, bool rotated, float* out, int64_t point) {
  constexpr int W = F::W, R = F::R, L = V::N;
  V columns[R][W];
#pragma GCC unroll 6
  for (int x = 0; x < R; ++x) {
    V g[R];
#pragma GCC unroll 6
    for (int y = 0; y < R; ++y)
      g[y] = V::load(taps + (rotated ? R * R - 1 - y * R - x : y * R + x) * L);
    F::weight(g, columns[x]);
  }
#pragma GCC unroll 6
  for (int r = 0; r < W; ++r) {
    V g[R], u[W];
#pragma GCC unroll 6
    for (int x = 0; x < R; ++x) g[x] = columns[x][r];
    F::weight(g, u);
#pragma GCC unroll 6
    for (int x = 0; x < W; ++x) u[x].store(out + (r * W + x) * point);
  }
}

template <class F>
void grad_weight(const float* in, int64_t point, float* taps) {
  constexpr int W = F::W, R = F::R, L = V::N;
  V columns[W][R];
#pragma GCC unroll 6
  for (int x = 0; x < W; ++x) {
    V m[W];
#pragma GCC unroll 6
    for (int r = 0; r < W; ++r) m[r] = V::load(in + (r * W + x) * point);
    F::grad_weight(m, columns[x]);
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    V m[W], w[R];
#pragma GCC unroll 6
    for (int x = 0; x < W; ++x) m[x] = columns[x][r];
    F::grad_weight(m, w);
#pragma GCC unroll 6
    for (int x = 0; x < R; ++x) w[x].store(taps + (r * R + x) * L);
  }
}

// As the tiles of kernels_gemm.cpp, but the operands lie as the transforms leave them.
template <int ROWS, int COLS, bool TURNED>
void tile(const WinogradProduct& t, int64_t row, int64_t col) {
  V acc[ROWS][COLS];
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < COLS; ++j) acc[i][j] = num(0.0f);
  const int64_t ld = t.a_ld;
  // Every third row has a pointer; the others lie one or two strides further.
  const float* a[(ROWS + 2) / 3];
#pragma GCC unroll 16
  for (int i = 0; i < (ROWS + 2) / 3; ++i) a[i] = TURNED ? t.a + row : t.a + (row + 3 * i) * ld;
  const float* b = t.b + col;
  for (int64_t p = t.k; p > 0; --p, b += t.b_ld) {
    V x[COLS];
#pragma GCC unroll 4
    for (int j = 0; j < COLS; ++j) x[j] = V::load(b + j * V::N);
    if (!TURNED)
#pragma GCC unroll 4
      for (int j = 0; j < COLS; ++j) __builtin_prefetch(b + t.ahead + j * V::N, 0, 2);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
      const V y = V::set1(TURNED ? a[0][i] : a[i / 3][i % 3 * ld]);
#pragma GCC unroll 4
      for (int j = 0; j < COLS; ++j) acc[i][j] = fma(y, x[j], acc[i][j]);
    }
    if (TURNED) {
      a[0] += ld;
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < (ROWS + 2) / 3; ++i) ++a[i];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; ++i) {
    float* c = t.c + (row + i) * t.c_ld + col;
#pragma GCC unroll 4
    for (int j = 0; j < COLS; ++j)
      (t.accumulate ? V::load(c + j * V::N) + acc[i][j] : acc[i][j]).store(c + j * V::N);
  }
}

constexpr int kRows = kTileRows;

template <int ROWS, int COLS, bool TURNED>
constexpr auto tile_at() {
  if constexpr (ROWS <= kRows)
    return tile<ROWS, COLS, TURNED>;
  else
    return static_cast<void (*)(const WinogradProduct&, int64_t, int64_t)>(nullptr);
}

template <int COLS, bool TURNED>
constexpr void (*kTiles[14])(const WinogradProduct&, int64_t, int64_t) = {
    tile_at<1, COLS, TURNED>(),  tile_at<2, COLS, TURNED>(),  tile_at<3, COLS, TURNED>(),
    tile_at<4, COLS, TURNED>(),  tile_at<5, COLS, TURNED>(),  tile_at<6, COLS, TURNED>(),
    tile_at<7, COLS, TURNED>(),  tile_at<8, COLS, TURNED>(),  tile_at<9, COLS, TURNED>(),
    tile_at<10, COLS, TURNED>(), tile_at<11, COLS, TURNED>(), tile_at<12, COLS, TURNED>(),
    tile_at<13, COLS, TURNED>(), tile_at<14, COLS, TURNED>()};

template <bool TURNED>
void product_of(const WinogradProduct& g) {
  const int64_t tiles = (g.m + kRows - 1) / kRows, rows = g.m / tiles, longer = g.m % tiles;
  for (int64_t j = 0; j < g.n;) {
    const bool pair = j + 2 * V::N <= g.n;
    const auto* kernels = pair ? kTiles<2, TURNED> : kTiles<1, TURNED>;
    for (int64_t q = 0, i = 0; q < tiles; ++q) {
      const int64_t height = rows + (q < longer);
      kernels[height - 1](g, i, j);
      i += height;
    }
    j += pair ? 2 * V::N : V::N;
  }
}

void product(const WinogradProduct& g) { g.turned ? product_of<true>(g) : product_of<false>(g); }

template <class F, class Weight = F>
constexpr WinogradTable table() {
  return {F::N,
          F::R,
          F::W,
          F::IN,
          F::STEP,
          F::M,
          input<F>,
          grad<Weight>,
          output<F>,
          weight<F>,
          grad_weight<Weight>};
}

}  // namespace

extern const WinogradKernels winograd_kernels;
const WinogradKernels winograd_kernels{
    V::N,          2 * V::N,         kRows,
    product,       table<F2x3>(),    table<F4x3>(),
    table<F2x5>(), table<F4x3By2>(), table<F4x3By2Back, F4x3By2>()};

}  // namespace TG_ISA
}  // namespace tg
