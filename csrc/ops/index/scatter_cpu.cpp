// scatter_add, take_grad and put: values are added (or stored) where indices say, equal indices in
// index order. Half types accumulate in float32 and are rounded once.
#include <cstdlib>
#include <cstring>

#include "core/args.h"
#include "core/dispatch.h"
#include "core/loop.h"
#include "core/run.h"
#include "ops/copy/copy.h"
#include "ops/index/index.h"

namespace tg {
namespace {

template <class F>
void dispatch_number(const char* op, DType t, F&& f) {
  if (is_float(t))
    dispatch_float(op, t, f);
  else
    dispatch_integer(op, t, f);
}

struct NoParams {};

// views: dst, src; both contiguous, of one size; between a half type and float32.
template <bool kWiden>
void convert_kernel(const NoParams&, const View* views) {
  dispatch_float("convert", views[kWiden ? 1 : 0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_for(views[0].size(), kIndexGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        if constexpr (kWiden)
          views[0].ptr<float>()[i] = float(compute<T>::load(views[1].ptr<T>()[i]));
        else
          views[0].ptr<T>()[i] = compute<T>::store(compute_t<T>(views[1].ptr<float>()[i]));
    });
  });
}

struct AddParams {
  int64_t count;                           // length of the indexed axis of src
  int64_t src_step, index_step, sum_step;  // bytes along that axis
};

// views: the sums (row major, to be zeroed), then src, indices and sums without the indexed axis:
// the lanes. Lanes are disjoint in the sums, so they are what is split over threads.
void add_kernel(const AddParams& params, const View* views) {
  const View& sums = views[0];
  const auto loop = make_loop<3>({&views[1], &views[2], &views[3]});
  const int64_t count = params.count, src_step = params.src_step;
  const int64_t index_step = params.index_step, sum_step = params.sum_step;
  parallel_for(sums.size() * itemsize(sums.dtype), kIndexGrain * 8,
               [&](int64_t b, int64_t e) { std::memset(sums.data + b, 0, e - b); });
  // 16 neighbouring lanes at least, so that threads do not share cache lines.
  const int64_t grain = std::max<int64_t>(16, kIndexGrain / std::max<int64_t>(count, 1));
  dispatch_number("scatter_add", views[1].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using Sum = compute_t<T>;
    parallel_rows(loop, grain, [&](char** p, const int64_t* s, int64_t n) {
      const auto add = [&](int64_t i, int64_t k) {
        const int64_t at = *reinterpret_cast<const int64_t*>(p[1] + i * s[1] + k * index_step);
        Sum* sum = reinterpret_cast<Sum*>(p[2] + i * s[2] + at * sum_step);
        const T* src = reinterpret_cast<const T*>(p[0] + i * s[0] + k * src_step);
        *sum = wrapping_add(*sum, Sum(compute<T>::load(*src)));
      };
      if (std::llabs(s[0]) > std::llabs(src_step)) {
        for (int64_t i = 0; i < n; ++i)
          for (int64_t k = 0; k < count; ++k) add(i, k);
        return;
      }
      const bool dense = s[1] == 0 && s[0] == sizeof(T) && s[2] == sizeof(Sum);
      for (int64_t k = 0; k < count; ++k) {
        if (!dense) {
          for (int64_t i = 0; i < n; ++i) add(i, k);
          continue;
        }
        const int64_t at = *reinterpret_cast<const int64_t*>(p[1] + k * index_step);
        Sum* sum = reinterpret_cast<Sum*>(p[2] + at * sum_step);
        const T* src = reinterpret_cast<const T*>(p[0] + k * src_step);
        for (int64_t i = 0; i < n; ++i)
          sum[i] = wrapping_add(sum[i], Sum(compute<T>::load(src[i])));
      }
    });
  });
}

// sums[..., index, ...] += src along axis; index and src have one shape, sums are zeroed first.
py::object added(const char* op, const View& src, const View& index, int ndim, const int64_t* shape,
                 int axis, const int64_t* flat_shape) {
  Output y = empty(op, src.dtype, ndim, shape);
  Output wide = is_half(src.dtype) ? empty(op, DType::f32, ndim, shape) : y;
  View sums = wide.view;  // seen with src's number of axes
  sums.ndim = src.ndim;
  int64_t stride = itemsize(sums.dtype);
  for (int i = src.ndim - 1; i >= 0; --i) {
    sums.shape[i] = flat_shape[i];
    sums.strides[i] = stride;
    stride *= flat_shape[i];
  }
  View lanes = without_axis(sums, axis);
  const View src_lanes = without_axis(src, axis);
  for (int i = 0; i < lanes.ndim; ++i) lanes.shape[i] = src_lanes.shape[i];
  const AddParams params{src.shape[axis], src.strides[axis], index.strides[axis],
                         sums.strides[axis]};
  run(add_kernel, params, {sums, src_lanes, without_axis(index, axis), lanes},
      sums.size() + src.size());
  if (is_half(src.dtype))
    run(convert_kernel<false>, NoParams{}, {y.view, wide.view}, y.view.size(), Arithmetic::exact);
  return y.array;
}

struct PutParams {
  bool accumulate;
};

// views: x as one flat axis (for half types that accumulate: in float32), indices, src.
void put_kernel(const PutParams& params, const View* views) {
  const auto loop = make_loop<2>({&views[1], &views[2]});
  if (params.accumulate) {
    dispatch_number("put", views[2].dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      using Sum = compute_t<T>;
      Sum* x = views[0].ptr<Sum>();
      for_rows(loop, 0, loop.size, [&](char** p, const int64_t* s, int64_t n) {
        for (int64_t i = 0; i < n; ++i) {
          Sum& to = x[*reinterpret_cast<const int64_t*>(p[0] + i * s[0])];
          to = wrapping_add(to, Sum(compute<T>::load(*reinterpret_cast<T*>(p[1] + i * s[1]))));
        }
      });
    });
    return;
  }
  dispatch_width(views[2].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* x = views[0].ptr<T>();
    for_rows(loop, 0, loop.size, [&](char** p, const int64_t* s, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        x[*reinterpret_cast<const int64_t*>(p[0] + i * s[0])] =
            *reinterpret_cast<const T*>(p[1] + i * s[1]);
    });
  });
}

}  // namespace

py::object scatter_add(const py::tuple& shape, py::handle index_, py::handle src_, int64_t axis_) {
  const View src = view_of(src_, "scatter_add", "src");
  check_number("scatter_add", src, "src");
  const View given = view_of(index_, "scatter_add", "index");
  int64_t dims[kMaxDims];
  const int ndim = integers_of(shape, dims, kMaxDims, "scatter_add", "shape");
  const int axis = checked_axis("scatter_add", axis_, ndim);
  bool fits = given.ndim == ndim && src.ndim == ndim;
  for (int i = 0; i < ndim && fits; ++i)
    fits = src.shape[i] == given.shape[i] && (i == axis || given.shape[i] <= dims[i]);
  check(fits, ErrorKind::shape, "scatter_add: expected src and index of one shape, no larger than ",
        Shape{dims, ndim}, " off axis ", axis, "; got src ", shape_of(src), " and index ",
        shape_of(given));
  checked_bytes("scatter_add", dims, ndim, itemsize(src.dtype));
  const Output index = checked_indices("scatter_add", index_, dims[axis]);
  return added("scatter_add", src, index.view, ndim, dims, axis, dims);
}

py::object take_grad(py::handle g_, py::handle index_, int64_t axis_, int64_t size) {
  const View given = view_of(index_, "take_grad", "index");
  View g = view_of(g_, "take_grad", "g");
  check_number("take_grad", g, "g");
  bool fits = axis_ >= 0 && axis_ <= g.ndim - given.ndim && g.ndim - given.ndim < kMaxDims;
  for (int i = 0; i < given.ndim && fits; ++i) fits = g.shape[axis_ + i] == given.shape[i];
  check(fits, ErrorKind::shape, "take_grad: expected g to have index's shape ", shape_of(given),
        " at axis ", axis_, ", got g ", shape_of(g));
  check(size >= 0, ErrorKind::shape, "take_grad: expected size >= 0, got ", size);
  const int axis = int(axis_);
  const Output index = checked_indices("take_grad", index_, size);
  py::object keep;
  g = row_major("take_grad", g, &keep);
  // One axis in place of index's, in g, in the indices (which repeat along the others) and in gx.
  View src = g, positions = index.view;
  src.ndim = positions.ndim = g.ndim - given.ndim + 1;
  int64_t shape[kMaxDims], stride = itemsize(g.dtype);
  for (int i = src.ndim - 1; i >= 0; --i) {
    src.shape[i] = i < axis ? g.shape[i] : i == axis ? given.size() : g.shape[i + given.ndim - 1];
    src.strides[i] = stride;
    stride *= src.shape[i];
    shape[i] = i == axis ? size : src.shape[i];
    positions.shape[i] = src.shape[i];
    positions.strides[i] = i == axis ? int64_t(sizeof(int64_t)) : 0;
  }
  return added("take_grad", src, positions, src.ndim, shape, axis, shape);
}

void put(py::handle x_, py::handle index_, py::handle src_, bool accumulate) {
  View x = writable_view_of(x_, "put", "x");
  View src = view_of(src_, "put", "src");
  check_same_dtype("put", x, "x", src, "src");
  check(x.row_major(), ErrorKind::value, "put: expected x to be row major");
  if (accumulate) check_number("put", x, "x");
  x.shape[0] = x.size();
  x.strides[0] = itemsize(x.dtype);
  x.ndim = 1;
  const View given = view_of(index_, "put", "index");
  bool fits = src.ndim <= given.ndim;
  for (int i = 0; i < src.ndim && fits; ++i)
    fits = src.shape[i] == 1 || src.shape[i] == given.shape[given.ndim - src.ndim + i];
  check(fits, ErrorKind::shape, "put: src of shape ", shape_of(src),
        " does not broadcast to index of shape ", shape_of(given));
  const Output index = checked_indices("put", index_, x.shape[0]);
  py::object keep;
  if (may_overlap(x, src)) {
    Output copied = empty_like("put", src.dtype, src);
    copy_elements(copied.view, src);
    keep = copied.array;
    src = copied.view;
  }
  src = broadcast_to(src, given.ndim, given.shape);
  const PutParams params{accumulate};
  if (!accumulate || !is_half(x.dtype)) {
    run(put_kernel, params, {x, index.view, src}, src.size(),
        accumulate ? Arithmetic::floating : Arithmetic::exact);
    return;
  }
  const Output wide = empty("put", DType::f32, 1, x.shape);
  run(convert_kernel<true>, NoParams{}, {wide.view, x}, x.size(), Arithmetic::exact);
  run(put_kernel, params, {wide.view, index.view, src}, src.size());
  run(convert_kernel<false>, NoParams{}, {x, wide.view}, x.size(), Arithmetic::exact);
}

}  // namespace tg
