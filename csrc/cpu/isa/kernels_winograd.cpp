#include "cpu/isa/vec.h"
#include "cpu/isa/winograd_kernels.h"

namespace tg {
namespace TG_ISA {
namespace {

using V = Vec<float>;
TG_INLINE V num(float x) { return V::set1(x); }

// One-dimensional transforms in registers.
struct F2x3 {
  static constexpr int M = 2, N = 4, R = 3;
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

struct F4x3 {
  static constexpr int M = 4, N = 6, R = 3;
  static TG_INLINE void input(const V (&d)[6], V (&v)[6]) {
    const V a = d[4] - d[2], b = d[3] - d[1], c = num(1.5f);
    v[0] = fma(c, b, a + (d[0] - d[2]));
    v[1] = fma(c, d[2] + d[3], a + b);
    v[2] = fma(c, d[3] - d[2], a - b);
    v[3] = fma(num(2.0f), b, a);
    v[4] = fma(num(-0.5f), b, a);
    v[5] = fma(c, a, (d[5] - d[3]) - b);
  }
  static TG_INLINE void output(const V (&m)[6], V (&y)[4]) {
    const V s = m[1] + m[2], t = m[1] - m[2];
    y[0] = (m[0] + s) + (m[3] + m[4]);
    y[1] = fma(num(-2.0f), m[4], fma(num(0.5f), m[3], t));
    y[2] = fma(num(4.0f), m[4], fma(num(0.25f), m[3], s));
    y[3] = fma(num(-8.0f), m[4], fma(num(0.125f), m[3], t + m[5]));
  }
  static TG_INLINE void weight(const V (&g)[3], V (&u)[6]) {
    const V third = num(1.0f / 3.0f), s = (g[0] + g[2]) * third, t = g[1] * third;
    u[0] = g[0];
    u[1] = s + t;
    u[2] = t - s;
    u[3] = num(-16.0f / 15.0f) * fma(num(0.25f), g[2], fma(num(0.5f), g[1], g[0]));
    u[4] = num(1.0f / 15.0f) * fma(num(4.0f), g[2], fma(num(-2.0f), g[1], g[0]));
    u[5] = g[2];
  }
  static TG_INLINE void grad(const V (&g)[4], V (&u)[6]) {
    const V s = g[0] + g[2], t = g[1] + g[3];
    u[0] = g[0];
    u[1] = s + t;
    u[2] = s - t;
    u[3] = fma(num(0.25f), g[2], g[0]) + num(0.5f) * fma(num(0.25f), g[3], g[1]);
    u[4] = fma(num(4.0f), g[2], g[0]) - num(2.0f) * fma(num(4.0f), g[3], g[1]);
    u[5] = g[3];
  }
  static TG_INLINE void grad_weight(const V (&m)[6], V (&w)[3]) {
    const V third = num(1.0f / 3.0f), s = (m[1] - m[2]) * third, t = (m[1] + m[2]) * third;
    const V p = num(-16.0f / 15.0f) * m[3], q = num(1.0f / 15.0f) * m[4];
    w[0] = (m[0] + s) + (p + q);
    w[1] = fma(num(-2.0f), q, fma(num(0.5f), p, t));
    w[2] = fma(num(4.0f), q, fma(num(0.25f), p, s + m[5]));
  }
};

// The points of F(4, 3) serve F(2, 5) as well.
struct F2x5 {
  static constexpr int M = 2, N = 6, R = 5;
  static TG_INLINE void input(const V (&d)[6], V (&v)[6]) { F4x3::input(d, v); }
  static TG_INLINE void output(const V (&m)[6], V (&y)[2]) {
    y[0] = (m[0] + (m[1] + m[2])) + (m[3] + m[4]);
    y[1] = fma(num(-2.0f), m[4], fma(num(0.5f), m[3], (m[1] - m[2]) + m[5]));
  }
  static TG_INLINE void weight(const V (&g)[5], V (&u)[6]) {
    const V third = num(1.0f / 3.0f), half = num(0.5f), two = num(-2.0f);
    const V s = ((g[0] + g[4]) + g[2]) * third, t = (g[1] + g[3]) * third;
    u[0] = g[0];
    u[1] = s + t;
    u[2] = num(0.0f) - (s - t);
    u[3] = num(-16.0f / 15.0f) *
           fma(half, fma(half, fma(half, fma(half, g[4], g[3]), g[2]), g[1]), g[0]);
    u[4] = num(1.0f / 15.0f) * fma(two, fma(two, fma(two, fma(two, g[4], g[3]), g[2]), g[1]), g[0]);
    u[5] = g[4];
  }
  static TG_INLINE void grad(const V (&g)[2], V (&u)[6]) {
    u[0] = g[0];
    u[1] = g[0] + g[1];
    u[2] = g[0] - g[1];
    u[3] = fma(num(0.5f), g[1], g[0]);
    u[4] = fma(num(-2.0f), g[1], g[0]);
    u[5] = g[1];
  }
  static TG_INLINE void grad_weight(const V (&m)[6], V (&w)[5]) {
    const V third = num(1.0f / 3.0f), s = (m[1] - m[2]) * third, t = (m[1] + m[2]) * third;
    const V p = num(-16.0f / 15.0f) * m[3], q = num(1.0f / 15.0f) * m[4];
    w[0] = (m[0] + s) + (p + q);
    w[1] = fma(num(-2.0f), q, fma(num(0.5f), p, t));
    w[2] = fma(num(4.0f), q, fma(num(0.25f), p, s));
    w[3] = fma(num(-8.0f), q, fma(num(0.125f), p, t));
    w[4] = fma(num(16.0f), q, fma(num(0.0625f), p, s + m[5]));
  }
};

template <class F>
void input(float* patch, int64_t pitch, int64_t tiles, const WinogradTiles& out) {
  constexpr int M = F::M, N = F::N, L = V::N;
  for (int64_t x = 0; x < M * tiles + N - M; ++x) {
    V d[N], v[N];
    float* column = patch + x * L;
#pragma GCC unroll 6
    for (int r = 0; r < N; ++r) d[r] = V::load(column + r * pitch);
    F::input(d, v);
#pragma GCC unroll 6
    for (int r = 0; r < N; ++r) v[r].store(column + r * pitch);
  }
  for (int64_t t = 0; t < tiles; ++t)
    for (int r = 0; r < N; ++r) {
      const float* row = patch + r * pitch + t * M * L;
      float* to = out.data + t * out.tile + r * N * out.point;
      V d[N], v[N];
#pragma GCC unroll 6
      for (int x = 0; x < N; ++x) d[x] = V::load(row + x * L);
      F::input(d, v);
#pragma GCC unroll 6
      for (int x = 0; x < N; ++x) v[x].store(to + x * out.point);
    }
}

template <class F>
void grad(const float* patch, int64_t pitch, int64_t tiles, const WinogradTiles& out) {
  constexpr int M = F::M, N = F::N, L = V::N;
  for (int64_t t = 0; t < tiles; ++t) {
    V columns[M][N];
#pragma GCC unroll 6
    for (int x = 0; x < M; ++x) {
      V g[M];
#pragma GCC unroll 6
      for (int r = 0; r < M; ++r) g[r] = V::load(patch + r * pitch + (t * M + x) * L);
      F::grad(g, columns[x]);
    }
#pragma GCC unroll 6
    for (int r = 0; r < N; ++r) {
      V g[M], u[N];
#pragma GCC unroll 6
      for (int x = 0; x < M; ++x) g[x] = columns[x][r];
      F::grad(g, u);
      float* to = out.data + t * out.tile + r * N * out.point;
#pragma GCC unroll 6
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
#pragma GCC unroll 6
    for (int x = 0; x < N; ++x) {
      V m[N];
      const float* from = in.data + t * in.tile + x * in.point;
#pragma GCC unroll 6
      for (int r = 0; r < N; ++r) m[r] = V::load(from + r * N * in.point);
      F::output(m, columns[x]);
    }
#pragma GCC unroll 6
    for (int r = 0; r < M; ++r) {
      V m[N], y[M];
#pragma GCC unroll 6
      for (int x = 0; x < N; ++x) m[x] = columns[x][r];
      F::output(m, y);
#pragma GCC unroll 6
      for (int x = 0; x < M; ++x) (y[x] + add).store(patch + r * pitch + (t * M + x) * L);
    }
  }
}

template <class F>
void weight(const float* taps, bool rotated, float* out, int64_t point) {
  constexpr int N = F::N, R = F::R, L = V::N;
  V columns[R][N];
#pragma GCC unroll 6
  for (int x = 0; x < R; ++x) {
    V g[R];
#pragma GCC unroll 6
    for (int y = 0; y < R; ++y)
      g[y] = V::load(taps + (rotated ? R * R - 1 - y * R - x : y * R + x) * L);
    F::weight(g, columns[x]);
  }
#pragma GCC unroll 6
  for (int r = 0; r < N; ++r) {
    V g[R], u[N];
#pragma GCC unroll 6
    for (int x = 0; x < R; ++x) g[x] = columns[x][r];
    F::weight(g, u);
#pragma GCC unroll 6
    for (int x = 0; x < N; ++x) u[x].store(out + (r * N + x) * point);
  }
}

template <class F>
void grad_weight(const float* in, int64_t point, float* taps) {
  constexpr int N = F::N, R = F::R, L = V::N;
  V columns[N][R];
#pragma GCC unroll 6
  for (int x = 0; x < N; ++x) {
    V m[N];
#pragma GCC unroll 6
    for (int r = 0; r < N; ++r) m[r] = V::load(in + (r * N + x) * point);
    F::grad_weight(m, columns[x]);
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    V m[N], w[R];
#pragma GCC unroll 6
    for (int x = 0; x < N; ++x) m[x] = columns[x][r];
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

template <class F>
constexpr WinogradTable table() {
  return {F::M, F::N, F::R, input<F>, grad<F>, output<F>, weight<F>, grad_weight<F>};
}

}  // namespace

extern const WinogradKernels winograd_kernels;
const WinogradKernels winograd_kernels{V::N,          2 * V::N,      product,
                                       table<F2x3>(), table<F4x3>(), table<F2x5>()};

}  // namespace TG_ISA
}  // namespace tg
