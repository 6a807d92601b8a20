// random_uniform, random_normal, random_int and dropout. An element's value depends on the key, the
// offset and its row-major index alone.
#include <algorithm>
#include <cmath>

#include "core/args.h"
#include "core/array.h"
#include "core/dispatch.h"
#include "core/loop.h"
#include "core/run.h"
#include "cpu/isa/kernels.h"
#include "cpu/isa/random_kernels.h"

namespace tg {
namespace {

constexpr int64_t kGrain = 16384;  // elements a thread should at least draw; whole blocks

int float_index(DType t) { return int(t) - int(DType::f16); }

// The part of a stream from this element on, which begins a block.
PhiloxStream from(const PhiloxStream& s, int64_t element, DType t) {
  return {s.key, s.block + uint64_t(element) / (itemsize(t) == 8 ? 2 : 4)};
}

using Fill = void (*const (&)[4])(PhiloxStream, void*, int64_t);

void fill(const PhiloxStream& stream, const View& y, Fill by_dtype) {
  const auto draw = by_dtype[float_index(y.dtype)];
  const int item = itemsize(y.dtype);
  parallel_for(y.size(), kGrain, [&](int64_t begin, int64_t end) {
    draw(from(stream, begin, y.dtype), y.data + begin * item, end - begin);
  });
}

// views: y.
void uniform_kernel(const PhiloxStream& stream, const View* views) {
  fill(stream, views[0], kernels().random->uniform);
}
void normal_kernel(const PhiloxStream& stream, const View* views) {
  fill(stream, views[0], kernels().random->normal);
}

struct IntParams {
  PhiloxStream stream;
  int64_t low;
  uint64_t range;
};

// views: y (int64).
void int_kernel(const IntParams& p, const View* views) {
  const View& y = views[0];
  parallel_for(y.size(), kGrain, [&](int64_t begin, int64_t end) {
    kernels().random->integers(from(p.stream, begin, y.dtype), p.low, p.range,
                               y.ptr<int64_t>() + begin, end - begin);
  });
}

struct DropoutParams {
  PhiloxStream stream;
  DropNumbers numbers;
  bool direct;  // y and x are row major
};

template <class T>
T kept(bool keep, T x, compute_t<T> scale) {
  const compute_t<T> y = compute<T>::load(x) * scale;
  return compute<T>::store(keep ? y : 0);
}

// views: y, x, one byte per element (only if not direct; row major). One word per element, whatever
// the dtype.
void dropout_kernel(const DropoutParams& p, const View* views) {
  const View &y = views[0], &x = views[1];
  const RandomKernels& random = *kernels().random;
  if (p.direct) {
    const auto dropout = random.dropout[float_index(y.dtype)];
    const int item = itemsize(y.dtype);
    parallel_for(y.size(), kGrain, [&](int64_t begin, int64_t end) {
      dropout(from(p.stream, begin, DType::f32), p.numbers, x.data + begin * item,
              y.data + begin * item, end - begin);
    });
    return;
  }
  parallel_for(y.size(), kGrain, [&](int64_t begin, int64_t end) {
    random.keep(from(p.stream, begin, DType::f32), p.numbers.threshold,
                views[2].ptr<uint8_t>() + begin, end - begin);
  });
  dispatch_float("dropout", y.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto scale = compute_t<T>(p.numbers.scale);
    const auto loop = make_loop<3>({&y, &x, &views[2]});
    parallel_rows(loop, kGrain, [&](char** at, const int64_t* s, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        *reinterpret_cast<T*>(at[0] + i * s[0]) =
            kept(at[2][i * s[2]] != 0, *reinterpret_cast<const T*>(at[1] + i * s[1]), scale);
    });
  });
}

Output empty_of(const char* op, DType dtype, const py::tuple& shape) {
  int64_t dims[kMaxDims];
  const int ndim = integers_of(shape, dims, kMaxDims, op, "shape");
  return empty(op, dtype, ndim, dims);
}

template <void (*kKernel)(const PhiloxStream&, const View*)>
py::object random_float(const char* op, const py::tuple& shape, py::handle dtype, uint64_t key,
                        uint64_t offset) {
  const DType t = dtype_of(dtype, op);
  check(is_float(t), ErrorKind::dtype, op, ": expected a floating dtype, got ", dtype_name(t));
  Output y = empty_of(op, t, shape);
  record_stream(0);
  run(kKernel, PhiloxStream{key, offset}, {y.view}, 4 * y.view.size(), Arithmetic::exact);
  return y.array;
}

py::object random_int(const py::tuple& shape, int64_t low, int64_t high, uint64_t key,
                      uint64_t offset) {
  check(low < high, ErrorKind::value, "random_int: expected low < high, got [", low, ", ", high,
        ")");
  Output y = empty_of("random_int", DType::i64, shape);
  const IntParams params{{key, offset}, low, uint64_t(high) - uint64_t(low)};
  record_stream(0);
  run(int_kernel, params, {y.view}, 4 * y.view.size(), Arithmetic::exact);
  return y.array;
}

py::object dropout(py::handle x_, double p, uint64_t key, uint64_t offset) {
  const View x = view_of(x_, "dropout", "x");
  check_float("dropout", x, "x");
  check(p >= 0 && p <= 1, ErrorKind::value, "dropout: expected p in [0, 1], got ", p);
  Output y = empty_like("dropout", x.dtype, x);
  const DropNumbers numbers{uint32_t(std::ceil(p * 0x1p24)), p < 1 ? 1 / (1 - p) : 0};
  const DropoutParams params{{key, offset}, numbers, x.row_major() && y.view.row_major()};
  const Output mask = params.direct ? y : empty("dropout", DType::u8, x.ndim, x.shape);
  record_stream(0);
  run(dropout_kernel, params, {y.view, x, mask.view}, 4 * x.size(), Arithmetic::exact);
  return y.array;
}

}  // namespace

void bind_random(py::module_& m) {
  using py::arg;
  m.def(
      "random_uniform",
      [](const py::tuple& shape, py::handle dtype, uint64_t key, uint64_t offset) {
        return random_float<uniform_kernel>("random_uniform", shape, dtype, key, offset);
      },
      arg("shape"), arg("dtype"), arg("key"), arg("offset"));
  m.def(
      "random_normal",
      [](const py::tuple& shape, py::handle dtype, uint64_t key, uint64_t offset) {
        return random_float<normal_kernel>("random_normal", shape, dtype, key, offset);
      },
      arg("shape"), arg("dtype"), arg("key"), arg("offset"));
  m.def("random_int", &random_int, arg("shape"), arg("low"), arg("high"), arg("key"),
        arg("offset"));
  m.def("dropout", &dropout, arg("x"), arg("p"), arg("key"), arg("offset"));
}

}  // namespace tg
