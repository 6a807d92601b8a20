#include "cpu/gemm_packed.h"

#include <algorithm>

#include "core/parallel.h"
#include "cpu/isa/kernels.h"

namespace tg {
namespace {

constexpr int64_t kPerThread = int64_t(1) << 15;  // packed elements worth waking a thread for

template <class T>
const GemmTable<T>& table() {
  return gemm_table(*kernels().gemm, T());
}

}  // namespace

template <class T>
void pack_rows(const PackedRows<T>& a, const T* src, int64_t row_stride, int64_t term,
               int64_t count) {
  const GemmTable<T>& t = table<T>();
  const int64_t tiles = ceil_div(a.rows, t.rows);
  for (int64_t n; count > 0; src += n, term += n, count -= n) {
    const int64_t block = term / t.kc * t.kc, terms = std::min<int64_t>(t.kc, a.k - block);
    n = std::min(count, block + terms - term);
    for (int64_t q = 0; q < tiles; ++q) {
      const Part tile = part_of(a.rows, tiles, q);
      t.pack(a.data + block * a.rows + tile.begin * terms + (term - block) * tile.count, tile.count,
             src + tile.begin * row_stride, row_stride, 1, tile.count, n);
    }
  }
}

template <class T>
PackedB<T>::PackedB(const GemmSource<T>& b, int64_t groups, int64_t n, int64_t k)
    : t_(table<T>()),
      n_(n),
      k_(k),
      panels_(ceil_div(n, t_.full)),
      memory_(offset_bytes() + bytes_of<T>(times(times(groups, panels_), times(k, t_.full)))) {
  if (!memory_) return;
  int64_t* const offset = memory_.template at<int64_t>(0);
  for (int64_t p = 0; p < terms(); ++p) offset[p] = p * t_.full;
  const int64_t grain = std::max<int64_t>(1, kPerThread / (t_.full * std::max<int64_t>(k, 1)));
  parallel_for(groups * panels_, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = i / panels_, j = i % panels_ * t_.full;
      const int64_t count = std::min<int64_t>(t_.full, n_ - j);
      T* const dst = at(group, i % panels_);
      t_.pack(dst, t_.full, b.data + (group * n_ + j) * b.lane_stride, b.lane_stride, b.k_stride,
              count, k_);
      for (int64_t p = 0; p < k_ && count < t_.full; ++p)  // tiles read whole vectors
        std::fill(dst + p * t_.full + count, dst + (p + 1) * t_.full, T(0));
    }
  });
}

template <class T>
void PackedB<T>::multiply(const PackedRows<T>& a, int64_t group, int64_t panel, T* c, int64_t ldc,
                          const T* add, int64_t add_row) const {
  const int64_t tiles = ceil_div(a.rows, t_.rows);
  TileArgs<T> args;
  args.n = std::min<int64_t>(t_.full, n_ - panel * t_.full);
  args.ldc = ldc;
  args.offset = memory_.template at<int64_t>(0);
  args.add_lanes = true;
  const auto* kernels = args.n > t_.narrow ? t_.tile_full : t_.tile_narrow;
  for (int64_t p = 0; p < k_; p += t_.kc) {
    args.k = std::min<int64_t>(t_.kc, k_ - p);
    args.b = at(group, panel) + p * t_.full;
    args.add_row = p > 0 ? ldc : add_row;
    for (int64_t q = 0; q < tiles; ++q) {
      const Part tile = part_of(a.rows, tiles, q);
      args.a = a.data + p * a.rows + tile.begin * args.k;
      args.c = c + tile.begin * ldc;
      args.add = p > 0 ? args.c : add == nullptr ? nullptr : add + tile.begin * add_row;
      kernels[tile.count - 1](args);
    }
  }
}

template void pack_rows(const PackedRows<float>&, const float*, int64_t, int64_t, int64_t);
template void pack_rows(const PackedRows<double>&, const double*, int64_t, int64_t, int64_t);
template class PackedB<float>;
template class PackedB<double>;

}  // namespace tg
