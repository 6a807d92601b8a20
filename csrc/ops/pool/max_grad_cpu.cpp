// max_pool_grad and max_pool_gather: moving values by the indices of max_pool.
#include <algorithm>
#include <atomic>

#include "core/args.h"
#include "core/dispatch.h"
#include "core/parallel.h"
#include "core/parts.h"
#include "core/run.h"
#include "ops/copy/prepare.h"
#include "ops/pool/pool.h"

namespace tg {
namespace {

constexpr int64_t kGrain = 16384;
constexpr int64_t kChannels = 64;  // of one task, where channels are neighbours in memory

struct IndexParams {
  PoolName op;
  int64_t batch, channels, outputs, inputs;  // positions per plane
  Lanes lanes;
};

// Packed planes: element (n, c, position) of an array with that many positions, in elements.
struct Planes {
  int64_t n, c, position;
  Planes(const IndexParams& p, int64_t positions)
      : n(p.channels * positions),
        c(p.lanes == Lanes::channels ? 1 : positions),
        position(p.lanes == Lanes::channels ? p.channels : 1) {}
};

// Calls f(n, first channel, last channel) for the planes of every task.
template <class F>
void for_planes(const IndexParams& p, F&& f) {
  const int64_t block = p.lanes == Lanes::channels ? std::min(kChannels, p.channels) : 1;
  const int64_t blocks = (p.channels - 1) / block + 1;
  const int64_t cost = std::max<int64_t>(block * (p.inputs + p.outputs), 1);
  parallel_for(p.batch * blocks, kGrain / cost, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t c = i % blocks * block;
      f(i / blocks, c, std::min(c + block, p.channels));
    }
  });
}

// Calls f with the type of the indices.
template <class F>
void dispatch_index(DType t, F&& f) {
  if (t == kIndexTypes[kIndex16]) return f(type_tag<uint16_t>{});
  t == kIndexTypes[kIndex32] ? f(type_tag<int32_t>{}) : f(type_tag<int64_t>{});
}

// A negative index is beyond any plane.
bool is_inside(const IndexParams& p, int64_t at) { return uint64_t(at) < uint64_t(p.inputs); }

template <class I>
void check_inside(const IndexParams& p, const std::atomic<bool>& outside, const I* at) {
  if (!outside) return;
  while (is_inside(p, int64_t(*at))) ++at;
  fail(ErrorKind::index, p.op, ": index ", int64_t(*at), " is outside the input plane, which has ",
       p.inputs, " elements");
}

template <class T, class I>
void scatter(const IndexParams& p, const View* views) {
  const Planes in(p, p.inputs), out(p, p.outputs);
  const I* index = views[2].ptr<I>();
  std::atomic<bool> outside{false};
  for_planes(p, [&](int64_t n, int64_t first, int64_t last) {
    T* gx = views[0].ptr<T>() + n * in.n;
    const T* g = views[1].ptr<T>() + n * out.n;
    const I* at = index + n * out.n;
    if (p.lanes == Lanes::width) {  // one plane
      T* const plane = gx + first * in.c;
      fill_zero(plane, p.inputs);
      g += first * out.c;
      at += first * out.c;
      bool bad = false;
      for (int64_t o = 0; o < p.outputs; ++o) {
        const bool inside = is_inside(p, int64_t(at[o]));
        bad = bad || !inside;
        if (inside) plane[at[o]] += g[o];
      }
      if (bad) outside = true;
      return;
    }
    for (int64_t i = 0; i < p.inputs; ++i) fill_zero(gx + i * in.position + first, last - first);
    for (int64_t o = 0; o < p.outputs; ++o)
      for (int64_t c = first; c < last; ++c) {
        const int64_t from = o * out.position + c * out.c, to = int64_t(at[from]);
        if (is_inside(p, to))
          gx[to * in.position + c * in.c] += g[from];
        else
          outside = true;
      }
  });
  check_inside(p, outside, index);
}

// views: gx, g, index; packed planes.
void grad_kernel(const IndexParams& p, const View* views) {
  dispatch_compute(views[0].dtype, [&](auto value) {
    dispatch_index(views[2].dtype, [&](auto place) {
      scatter<typename decltype(value)::type, typename decltype(place)::type>(p, views);
    });
  });
}

template <class T, class I>
void pick(const IndexParams& p, const View* views) {
  const Planes in(p, p.inputs), out(p, p.outputs);
  const I* index = views[2].ptr<I>();
  std::atomic<bool> outside{false};
  for_planes(p, [&](int64_t n, int64_t first, int64_t last) {
    T* y = views[0].ptr<T>() + n * out.n;
    const T* x = views[1].ptr<T>() + n * in.n;
    const I* at = index + n * out.n;
    for (int64_t o = 0; o < p.outputs; ++o)
      for (int64_t c = first; c < last; ++c) {
        const int64_t to = o * out.position + c * out.c, from = int64_t(at[to]);
        if (is_inside(p, from))
          y[to] = x[from * in.position + c * in.c];
        else
          outside = true;
      }
  });
  check_inside(p, outside, index);
}

// views: y, x, index; packed planes.
void gather_kernel(const IndexParams& p, const View* views) {
  dispatch_width(views[0].dtype, [&](auto value) {
    dispatch_index(views[2].dtype, [&](auto place) {
      pick<typename decltype(value)::type, typename decltype(place)::type>(p, views);
    });
  });
}

View read_indices(const PoolName& op, py::handle h, int rank) {
  const View index = view_of(h, op, "indices");
  check(std::count(kIndexTypes, kIndexTypes + kPoolIndices, index.dtype) == 1, ErrorKind::dtype, op,
        ": indices must be uint16, int32 or int64, got ", dtype_name(index.dtype));
  check(index.ndim == rank + 2, ErrorKind::shape, op, ": indices must have ", rank,
        " spatial axes, got shape ", shape_of(index));
  return index;
}

IndexParams index_params(const PoolName& op, const View& index, const int64_t* in, int rank,
                         Lanes lanes) {
  IndexParams p{op, index.shape[0], index.shape[1], 1, 1, lanes};
  for (int i = 0; i < rank; ++i) p.outputs *= index.shape[2 + i];
  for (int i = 0; i < rank; ++i) p.inputs *= in[i];
  return p;
}

}  // namespace

py::object max_pool_grad(py::handle g_array, py::handle indices, py::handle in_spatial) {
  const View g = view_of(g_array, "max_pool_grad", "g");
  check_float("max_pool_grad", g, "g");
  const int rank = pool_rank("max_pool_grad", g, "g");
  const PoolName op("max_pool", rank, "_grad");
  const View index = read_indices(op, indices, rank);
  check(std::equal(g.shape, g.shape + g.ndim, index.shape), ErrorKind::shape, op,
        ": g and indices must have one shape, got ", shape_of(g), " and ", shape_of(index));
  int64_t in[kMaxDims];
  read_spatial(op, "in_spatial", in_spatial, rank, in);
  const Lanes lanes = lanes_of(g);
  const PoolResult gx(op, g.dtype, g, lanes, in, Pack::planes);
  const IndexParams params = index_params(op, index, in, rank, lanes);
  if (params.batch * params.channels > 0) {
    py::object keep[2];
    const DType t = compute_dtype(g.dtype);
    const View of_g = pool_operand(op, g, t, lanes, Pack::planes, &keep[0]);
    const View at = pool_operand(op, index, index.dtype, lanes, Pack::planes, &keep[1]);
    record_checks();
    run(grad_kernel, params, {gx.view(), of_g, at}, g.size() + gx.out.view.size());
  }
  return gx.finish();
}

py::object max_pool_gather(py::handle x_array, py::handle indices) {
  const View x = view_of(x_array, "max_pool_gather", "x");
  const int rank = pool_rank("max_pool_gather", x, "x");
  const PoolName op("max_pool", rank, "_gather");
  const View index = read_indices(op, indices, rank);
  check(x.shape[0] == index.shape[0] && x.shape[1] == index.shape[1], ErrorKind::shape, op,
        ": x and indices must agree in batch and channels, got shapes ", shape_of(x), " and ",
        shape_of(index));
  const Lanes lanes = lanes_of(index);
  const PoolResult y(op, x.dtype, index, lanes, index.shape + 2, Pack::planes);
  if (index.size() > 0) {
    py::object keep[2];
    const View of_x = pool_operand(op, x, compute_dtype(x.dtype), lanes, Pack::planes, &keep[0]);
    const View at = pool_operand(op, index, index.dtype, lanes, Pack::planes, &keep[1]);
    record_checks();
    run(gather_kernel, index_params(op, index, x.shape + 2, rank, lanes), {y.view(), of_x, at},
        index.size(), Arithmetic::exact);
  }
  return y.finish();
}

}  // namespace tg
