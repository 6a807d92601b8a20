#include "ops/matmul/ladder.h"

#include "core/check.h"
#include "cpu/isa/gemm_kernels.h"
#include "cpu/isa/kernels.h"
#include "cpu/isa/ladder_kernels.h"

namespace tg {
namespace {

// What decides whether a way can be taken.
struct Operands {
  int64_t rows;                    // of A
  bool a_flat, b_rows, b_columns;  // one stride of A is 1; rows, columns of B are contiguous
};

bool always(const Operands&) { return true; }
bool rows_of_other(const Operands& o) { return o.b_rows; }
bool columns_of_other(const Operands& o) { return o.b_columns; }
bool few(const Operands& o) { return o.b_rows && o.rows <= kFewRows; }
bool flat(const Operands& o) { return o.a_flat; }

struct Way {
  const char* name;
  GemmWay gemm;  // any: gemm's own list, or a rung below register tiles
  bool (*applies)(const Operands&);
  const char* needs;
};
const Way kWays[] = {
    {"", GemmWay::any, always, ""},
    {"naive", GemmWay::any, always, ""},
    {"rows", GemmWay::any, rows_of_other, "contiguous rows of other"},
    {"blocked", GemmWay::any, rows_of_other, "contiguous rows of other"},
    {"dot", GemmWay::dot, columns_of_other, "contiguous columns of other"},
    {"few_rows", GemmWay::few_rows, few, "at most 3 rows of input and contiguous rows of other"},
    {"in_place", GemmWay::in_place, flat, "contiguous rows or columns of input"},
    {"packed", GemmWay::packed, always, ""},
};
constexpr int kCount = sizeof kWays / sizeof kWays[0];

}  // namespace

int way_of(const char* op, const std::string& impl) {
  for (int i = 0; i < kCount; ++i)
    if (impl == kWays[i].name) return i;
  std::string names;
  for (int i = 1; i < kCount; ++i) names += std::string(i > 1 ? ", " : "") + kWays[i].name;
  fail(ErrorKind::value, op, ": impl must be '' or one of ", names, "; got '", impl, "'");
}

const char* way_name(int way) { return kWays[way].name; }

const char* way_name(GemmWay way) {
  for (const Way& w : kWays)
    if (w.gemm == way && way != GemmWay::any) return w.name;
  return "";
}

template <class T>
void check_way(const char* op, int way, const Gemm<T>& g) {
  const Operands o{g.m, g.m == 1 || g.a.lane_stride == 1 || g.a.k_stride == 1,
                   g.n == 1 || g.b.lane_stride == 1, g.b.k_stride == 1};
  check(kWays[way].applies(o), ErrorKind::value, op, ": impl='", kWays[way].name,
        "' does not apply: it needs ", kWays[way].needs);
}

template <class T>
bool multiply(const Gemm<T>& g, int way) {
  if (way > kRungs) {
    Gemm<T> one = g;
    one.way = kWays[way].gemm;
    return gemm(one);
  }
  ladder_table(*kernels().ladder, T())
      .rungs[way - 1]({g.m, g.n, g.k, g.a.data, g.a.lane_stride, g.a.k_stride, g.b.data,
                       g.b.k_stride, g.b.lane_stride, g.c.data, g.c.row_stride});
  return true;
}

template void check_way(const char*, int, const Gemm<float>&);
template void check_way(const char*, int, const Gemm<double>&);
template bool multiply(const Gemm<float>&, int);
template bool multiply(const Gemm<double>&, int);

namespace {

// Runs chains of multiply-adds that never leave the registers; returns how many operations.
template <class T>
double fma_chains(int64_t rounds) {
  volatile T sink = ladder_table(*kernels().ladder, T()).fma_chains(rounds, T(1e-3));
  (void)sink;
  const int lanes = gemm_table(*kernels().gemm, T()).lanes;
  return 2.0 * double(rounds) * lanes * kFmaChains;
}

}  // namespace

void bind_ladder(py::module_& m) {
  m.def("_fma_chains", [](int64_t rounds, bool wide) {
    return wide ? fma_chains<double>(rounds) : fma_chains<float>(rounds);
  });
}

}  // namespace tg
