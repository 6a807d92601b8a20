// The loops around the register tiles: blocks of B and A are packed into panels that stay in the
// caches (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008).
#include "cpu/gemm.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "core/parallel.h"
#include "core/parts.h"
#include "core/rounds.h"
#include "cpu/gemm_plain.h"
#include "cpu/isa/gemm_kernels.h"
#include "cpu/isa/kernels.h"

namespace tg {
namespace {

constexpr int64_t kBlockBytes = 344 << 10;  // packed A, in the second-level cache
constexpr int64_t kBlockCols = 1024;        // columns of packed B
constexpr int64_t kPieceTerms = 8;          // terms packed of one tile before the next
constexpr int64_t kSinkCols = 1024;         // columns of C that are finished before being stored
constexpr int64_t kWorthSharing = int64_t(1) << 28;  // multiply-adds worth waiting for each other

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// Rows of A that are packed together.
template <class T>
int64_t rows_of_block(const GemmTable<T>& t) {
  return kBlockBytes / (t.rows * t.kc * int64_t(sizeof(T))) * t.rows;
}

// B is read in place where its rows are contiguous and too few tiles would use the packed copy;
// fewer still where every row lies in a memory page of its own.
template <class T>
bool reads_b_in_place(const Gemm<T>& g, const GemmTable<T>& t, int64_t rows) {
  const int64_t tiles = g.b.k_stride * int64_t(sizeof(T)) <= 4096 ? 5 : 1;
  return g.b.pack == nullptr && g.b.lane_stride == 1 && (g.b_in_place || rows <= tiles * t.rows);
}

template <class T>
class Block {
 public:
  Block(const Gemm<T>& g, const GemmTable<T>& t, Range rows, Range cols)
      : g_(g), t_(t), rows_(rows), cols_(cols) {
    direct_c_ = g.c.store == nullptr && g.c.col_stride == 1;
    direct_b_ = reads_b_in_place(g, t, rows.size());
    mc_ = std::min(rows_of_block(t), rows.size());
    const int64_t most = direct_c_ ? kBlockCols : kSinkCols;
    nc_ = std::min(ceil_div(most, t.full), ceil_div(cols.size(), t.full)) * t.full;
    kc_ = std::min<int64_t>(t.kc, g.k);
  }

  bool run() {
    const int64_t b_cols = direct_b_ ? t_.full : nc_;
    const int64_t a_bytes = bytes_of<T>(mc_ * kc_);
    const int64_t b_bytes = bytes_of<T>(b_cols * kc_);
    const int64_t c_bytes = direct_c_ ? 0 : bytes_of<T>(mc_ * nc_);
    const Scratch scratch(a_bytes + b_bytes + c_bytes + 2 * kc_ * int64_t(sizeof(int64_t)));
    if (!scratch) return false;
    packed_a_ = scratch.template at<T>(0);
    packed_b_ = scratch.template at<T>(a_bytes);
    T* const c = scratch.template at<T>(a_bytes + b_bytes);
    packed_rows_ = scratch.template at<int64_t>(a_bytes + b_bytes + c_bytes);
    rows_of_b_ = packed_rows_ + kc_;
    for (int64_t p = 0; p < kc_; ++p) {
      packed_rows_[p] = p * t_.full;
      rows_of_b_[p] = p * g_.b.k_stride;
    }
    for (int64_t j = cols_.begin; j < cols_.end; j += nc_) {
      const Range cols{j, std::min(cols_.end, j + nc_)};
      if (direct_c_) {
        sum(rows_, cols, g_.c.data, g_.c.row_stride, 0, 0);
        continue;
      }
      for (int64_t i = rows_.begin; i < rows_.end; i += mc_) {
        const Range rows{i, std::min(rows_.end, i + mc_)};
        if (g_.accumulate) copy_in(c, rows, cols);
        sum(rows, cols, c, nc_, rows.begin, cols.begin);
        finish(g_.then, c, nc_, rows.size(), cols.size());
        if (g_.c.store != nullptr)
          g_.c.store(g_.c.context, c, nc_, rows.begin, rows.size(), cols.begin, cols.size());
        else
          copy_out(c, rows, cols);
      }
    }
    return true;
  }

  // For threads that share a packed B: panels of the block of terms from p on go to packed_b.
  void pack_shared(T* packed_b, int64_t p) {
    packed_b_ = packed_b;
    pack_b(cols_, p);
  }
  // Adds these terms to C[rows, cols], at most rows_of_block rows. offsets: of the rows of a panel.
  bool add_shared(T* packed_b, int64_t* offsets, int64_t p) {
    const Scratch scratch(bytes_of<T>(mc_ * kc_));
    if (!scratch) return false;
    packed_a_ = scratch.template at<T>(0);
    packed_b_ = packed_b;
    packed_rows_ = offsets;
    direct_b_ = false;
    add_terms(rows_, cols_, p, g_.c.data, g_.c.row_stride, 0, 0);
    finish_terms(rows_, cols_, p);
    return true;
  }

 private:
  // All terms of C[rows, cols]; element (i, j) lies at c[(i - row0) * ldc + j - col0].
  void sum(Range rows, Range cols, T* c, int64_t ldc, int64_t row0, int64_t col0) {
    for (int64_t p = 0; p < g_.k; p += t_.kc) {
      if (!direct_b_) pack_b(cols, p);
      for (int64_t i = rows.begin; i < rows.end; i += mc_) {
        const Range some{i, std::min(rows.end, i + mc_)};
        add_terms(some, cols, p, c, ldc, row0, col0);
        if (direct_c_) finish_terms(some, cols, p);
      }
    }
  }

  // What these rows go through after their last terms, where they lie in C.
  void finish_terms(Range rows, Range cols, int64_t p) const {
    if (p + t_.kc >= g_.k) finish(g_, rows.begin, rows.size(), cols.begin, cols.size());
  }

  void pack_b(Range cols, int64_t p) {
    for_pieces(g_.b, std::min<int64_t>(t_.kc, g_.k - p), [&](int64_t from, int64_t count) {
      for (int64_t j = cols.begin; j < cols.end; j += t_.full)
        pack(g_.b, packed_b_ + (j - cols.begin) * kc_ + from * t_.full, t_.full, j,
             std::min<int64_t>(t_.full, cols.end - j), p + from, count);
    });
  }

  void add_terms(Range rows, Range cols, int64_t p, T* c, int64_t ldc, int64_t row0, int64_t col0) {
    const int64_t terms = std::min<int64_t>(t_.kc, g_.k - p);
    const int64_t tiles = ceil_div(rows.size(), t_.rows);
    for_pieces(g_.a, terms, [&](int64_t from, int64_t count) {
      for (int64_t q = 0; q < tiles; ++q) {
        const Part tile = part_of(rows.size(), tiles, q);
        pack(g_.a, packed_a_ + tile.begin * terms + from * tile.count, tile.count,
             rows.begin + tile.begin, tile.count, p + from, count);
      }
    });
    tiles_of(rows, cols, p, terms, c + (rows.begin - row0) * ldc - col0, ldc);
  }

  // Calls f for the terms of an operand piece by piece: of lanes that lie side by side, all tiles
  // take a few terms at a time, so that memory is read in order.
  template <class F>
  static void for_pieces(const GemmSource<T>& s, int64_t terms, F f) {
    const int64_t piece = s.pack == nullptr && s.lane_stride == 1 ? kPieceTerms : terms;
    for (int64_t from = 0; from < terms; from += piece) f(from, std::min(piece, terms - from));
  }

  void tiles_of(Range rows, Range cols, int64_t p, int64_t terms, T* c, int64_t ldc) {
    const int64_t tiles = ceil_div(rows.size(), t_.rows);
    const bool wide = direct_b_ && rows.size() <= t_.wide_rows;
    TileArgs<T> args;
    args.k = terms;
    args.ldc = ldc;
    // Rows that lie in pages of their own are not foreseen by the processor.
    const bool far = direct_b_ && g_.b.k_stride * int64_t(sizeof(T)) >= 1024;
    for (int64_t j = cols.begin, n; j < cols.end; j += n) {
      n = std::min<int64_t>(cols.end - j, wide ? t_.wide : t_.full);
      if (wide && n < t_.wide) n = std::min<int64_t>(n, t_.full);
      const int64_t width = n > t_.full ? t_.wide : n > t_.narrow ? t_.full : t_.narrow;
      if (!direct_b_) {
        args.b = packed_b_ + (j - cols.begin) * kc_;
        args.offset = packed_rows_;
      } else if (n == width) {
        args.b = g_.b.data + p * g_.b.k_stride + j;
        args.offset = rows_of_b_;
        args.ahead = far && cols.end - j >= 3 * n ? 2 * n : 0;
      } else {  // whole vectors would read past the end of a row
        pack(g_.b, packed_b_, t_.full, j, n, p, terms);
        args.b = packed_b_;
        args.offset = packed_rows_;
      }
      const auto* kernels = width == t_.wide   ? t_.tile_wide
                            : width == t_.full ? t_.tile_full
                                               : t_.tile_narrow;
      args.n = n;
      for (int64_t q = 0; q < tiles; ++q) {
        const Part tile = part_of(rows.size(), tiles, q);
        args.a = packed_a_ + tile.begin * terms;
        args.c = c + tile.begin * ldc + j;
        addend<T>(g_, &args, p, rows.begin + tile.begin, j);
        kernels[tile.count - 1](args);
      }
    }
  }

  void pack(const GemmSource<T>& s, T* dst, int64_t ld, int64_t lane, int64_t count, int64_t term,
            int64_t k) const {
    if (s.pack != nullptr)
      s.pack(s.context, dst, ld, lane, count, term, k);
    else
      t_.pack(dst, ld, s.data + lane * s.lane_stride + term * s.k_stride, s.lane_stride, s.k_stride,
              count, k);
    for (int64_t p = 0; p < k && count < ld; ++p)  // tiles read whole vectors
      std::fill(dst + p * ld + count, dst + (p + 1) * ld, T(0));
  }

  void copy_in(T* c, Range rows, Range cols) const {
    for (int64_t i = 0; i < rows.size(); ++i)
      for (int64_t j = 0; j < cols.size(); ++j)
        c[i * nc_ + j] =
            g_.c.data[(rows.begin + i) * g_.c.row_stride + (cols.begin + j) * g_.c.col_stride];
  }
  void copy_out(const T* c, Range rows, Range cols) const {
    for (int64_t i = 0; i < rows.size(); ++i)
      for (int64_t j = 0; j < cols.size(); ++j)
        g_.c.data[(rows.begin + i) * g_.c.row_stride + (cols.begin + j) * g_.c.col_stride] =
            c[i * nc_ + j];
  }

  const Gemm<T>& g_;
  const GemmTable<T>& t_;
  const Range rows_, cols_;
  bool direct_c_, direct_b_;
  int64_t mc_, nc_, kc_;
  T *packed_a_, *packed_b_;
  int64_t *packed_rows_, *rows_of_b_;
};

// k = 0: C is the bias.
template <class T>
bool nothing_to_sum(const Gemm<T>& g) {
  if (g.accumulate) return true;
  for (int64_t i = 0; i < g.m; ++i)
    for (int64_t j = 0; j < g.n; ++j) {
      T value = g.row_bias != nullptr   ? g.row_bias[i]
                : g.col_bias != nullptr ? g.col_bias[j]
                                        : T(0);
      finish(g.then, &value, 1);
      if (g.c.store != nullptr)
        g.c.store(g.c.context, &value, 1, i, 1, j, 1);
      else
        g.c.data[i * g.c.row_stride + j * g.c.col_stride] = value;
    }
  return true;
}

// C^T = B^T A^T.
template <class T>
Gemm<T> turned_over(const Gemm<T>& g) {
  Gemm<T> t = g;
  std::swap(t.m, t.n);
  std::swap(t.a, t.b);
  std::swap(t.c.row_stride, t.c.col_stride);
  std::swap(t.row_bias, t.col_bias);
  return t;
}

// How many threads the work is worth.
template <class T>
int64_t threads_for(const Gemm<T>& g) {
  const double pieces = double(g.m) * double(g.n) * double(g.k) / double(kPerThread);
  return int64_t(std::min(double(num_threads()), std::max(pieces, 1.0)));
}

// Threads pack a block of B together, then take parts of C as they come: one that is held up delays
// the others by a part at most.
template <class T>
bool shared_blocks(const Gemm<T>& g, const GemmTable<T>& t) {
  const int64_t kc = std::min<int64_t>(t.kc, g.k);
  const int64_t nc = std::min(kBlockCols, ceil_div(g.n, t.full) * t.full);
  const Scratch scratch(bytes_of<T>(nc * kc) + kc * int64_t(sizeof(int64_t)));
  if (!scratch) return false;
  T* const packed = scratch.template at<T>(0);
  int64_t* const offsets = scratch.template at<int64_t>(bytes_of<T>(nc * kc));
  for (int64_t p = 0; p < kc; ++p) offsets[p] = p * t.full;

  const int64_t threads = threads_for(g), wanted = threads > 1 ? kPartsPerThread * threads : 1;
  const int64_t fewest = ceil_div(g.m, rows_of_block(t));
  int64_t down = std::max(fewest, std::min(wanted, g.m / (4 * t.rows)));
  if (down >= threads) down = ceil_div(down, threads) * threads;
  const int64_t across = std::min(ceil_div(wanted, down), nc / t.full), parts = down * across;
  const int64_t blocks = ceil_div(g.k, kc);
  std::atomic<bool> ok{true};
  const auto work = [&](int64_t round, int64_t part) {
    const int64_t p = round / 2 % blocks * kc, j = round / 2 / blocks * nc;
    const int64_t end = std::min(g.n, j + nc), panels = ceil_div(end - j, t.full);
    const bool packing = round % 2 == 0;
    const Part take =
        packing ? part_of(panels, parts, part) : part_of(panels, across, part % across);
    if (take.count == 0) return;
    const Part rows = part_of(g.m, down, part / across);
    T* const panel = packed + take.begin * t.full * kc;
    Block<T> block(g, t, {rows.begin, rows.end()},
                   {j + take.begin * t.full, std::min(end, j + take.end() * t.full)});
    if (packing)
      block.pack_shared(panel, p);
    else if (!block.add_shared(panel, offsets, p))
      ok.store(false, std::memory_order_relaxed);
  };
  const int64_t rounds = 2 * blocks * ceil_div(g.n, nc);
  if (threads > 1) {
    parallel_rounds(rounds, parts, work);
  } else {
    for (int64_t round = 0; round < rounds; ++round)
      for (int64_t part = 0; part < parts; ++part) work(round, part);
  }
  return ok.load();
}

// The grid of blocks, one per thread, with the least packing done twice.
template <class T>
void choose_grid(const Gemm<T>& g, const GemmTable<T>& t, int64_t* down, int64_t* across) {
  const int64_t row_tiles = ceil_div(g.m, t.rows), col_tiles = ceil_div(g.n, t.full);
  const int64_t threads = threads_for(g);
  double best = 0;
  *down = *across = 1;
  for (int64_t rows = 1; rows <= std::min(threads, row_tiles); ++rows) {
    const int64_t cols = std::min(threads / rows, col_tiles);
    const double height = double(ceil_div(row_tiles, rows) * t.rows);
    const double width = double(ceil_div(col_tiles, cols) * t.full);
    // A packed element costs about as much as lanes multiply-adds.
    const double cost = height * width + t.lanes * (height + width);
    if (best != 0 && cost >= best) continue;
    best = cost;
    *down = rows;
    *across = cols;
  }
}

template <class T>
const GemmTable<T>& table_of(const Gemm<T>& g) {
  return g.table != nullptr ? *g.table : gemm_table(*kernels().gemm, T());
}

// Which way is taken; turns the product over as that wants it.
template <class T>
GemmWay choose(const GemmTable<T>& t, Gemm<T>* product) {
  Gemm<T>& g = *product;
  if (g.way != GemmWay::any && g.way != GemmWay::packed) return g.way;
  const bool plain = g.a.pack == nullptr && g.b.pack == nullptr && g.c.store == nullptr &&
                     g.way != GemmWay::packed;
  if (plain) {
    const Gemm<T> d = g.n < g.m ? turned_over(g) : g;
    if (d.b.k_stride == 1 && (d.b.lane_stride != 1 || d.n == 1) && is_better_as_dots(d, t)) {
      g = d;
      return GemmWay::dot;
    }
    if (d.m <= t.wide_rows) g = d;
  }
  if (g.c.store == nullptr && g.c.col_stride != 1 && g.c.row_stride == 1) g = turned_over(g);
  if (g.n == 1 && plain) g.c.col_stride = 1;
  if (plain && g.c.col_stride == 1) {
    if (is_better_by_rows(g, t)) return GemmWay::few_rows;
    if (is_better_in_place(g)) return GemmWay::in_place;
  }
  return GemmWay::packed;
}

}  // namespace

template <class T>
GemmWay gemm_way(Gemm<T> g) {
  return choose(table_of(g), &g);
}

template <class T>
bool gemm(const Gemm<T>& problem) {
  if (problem.m == 0 || problem.n == 0) return true;
  if (problem.k == 0) return nothing_to_sum(problem);
  const GemmTable<T>& t = table_of(problem);
  Gemm<T> g = problem;
  switch (choose(t, &g)) {
    case GemmWay::dot: return dot_products(g, t);
    case GemmWay::few_rows: return few_rows(g, t);
    case GemmWay::in_place: return in_place(g, t);
    default: break;
  }
  const bool large = double(g.m) * double(g.n) * double(g.k) >= double(kWorthSharing);
  if (large && g.c.store == nullptr && g.c.col_stride == 1 && !reads_b_in_place(g, t, g.m))
    return shared_blocks(g, t);
  int64_t down, across;
  choose_grid(g, t, &down, &across);
  const int64_t row_tiles = ceil_div(g.m, t.rows), col_tiles = ceil_div(g.n, t.full);
  std::atomic<bool> ok{true};
  const int64_t worth = 1 + int64_t(double(g.m) * double(g.n) * double(g.k) / double(kPerThread));
  parallel_for(
      down * across, 1,
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const Part rows = part_of(row_tiles, down, i / across);
          const Part cols = part_of(col_tiles, across, i % across);
          Block<T> block(g, t, {rows.begin * t.rows, std::min(g.m, rows.end() * t.rows)},
                         {cols.begin * t.full, std::min(g.n, cols.end() * t.full)});
          if (!block.run()) ok.store(false, std::memory_order_relaxed);
        }
      },
      worth);
  return ok.load();
}

template bool gemm<float>(const Gemm<float>&);
template bool gemm<double>(const Gemm<double>&);
template GemmWay gemm_way<float>(Gemm<float>);
template GemmWay gemm_way<double>(Gemm<double>);

}  // namespace tg
