// conv, conv_grad_input and conv_grad_weight: everything is checked here, before any memory is
// touched; then allocate and run.
#include <algorithm>
#include <sstream>
#include <string>

#include "core/array.h"
#include "core/kept.h"
#include "core/pool.h"
#include "core/run.h"
#include "ops/conv/conv.h"
#include "ops/elementwise/apply.h"

namespace tg {
namespace {

constexpr int64_t kLargest = int64_t(1) << 61;  // padded sizes stay clear of overflow

const char* op_name(ConvOp op, int rank) {
  static const char* const names[3][3] = {
      {"conv1d", "conv2d", "conv3d"},
      {"conv1d_grad_input", "conv2d_grad_input", "conv3d_grad_input"},
      {"conv1d_grad_weight", "conv2d_grad_weight", "conv3d_grad_weight"}};
  return names[static_cast<int>(op)][rank - 1];
}

// A Python int of any size as int64.
int64_t integer(const char* op, const char* name, py::handle h) {
  const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(h.ptr()));
  if (!index) {
    PyErr_Clear();
    fail(ErrorKind::dtype, op, ": ", name, " must be an int, got ", Py_TYPE(h.ptr())->tp_name);
  }
  int overflow;
  const long long v = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  if (overflow != 0)
    fail(ErrorKind::shape, op, ": ", name, " ", std::string(py::str(index)),
         " does not fit 64 bits");
  return v;
}

// One int per spatial axis.
void integers(const char* op, const char* name, py::handle h, int rank, int64_t* out) {
  const py::object list = py::reinterpret_steal<py::object>(PySequence_Tuple(h.ptr()));
  if (!list) {
    PyErr_Clear();
    fail(ErrorKind::dtype, op, ": ", name, " must be a tuple of ", rank, " ints, got ",
         Py_TYPE(h.ptr())->tp_name);
  }
  const py::tuple t = py::reinterpret_borrow<py::tuple>(list);
  check(int(t.size()) == rank, ErrorKind::shape, op, ": ", name, " needs ", rank, " values, got ",
        t.size());
  for (int i = 0; i < rank; ++i) out[i] = integer(op, name, t[i]);
}

// The arguments that all three entries share; spatial axes in the order of the arrays.
struct Window {
  int64_t in[3], kernel[3], stride[3], dilation[3], before[3], after[3], out[3];

  void read(const char* op, int rank, py::handle stride_arg, py::handle padding_arg,
            py::handle dilation_arg) {
    integers(op, "stride", stride_arg, rank, stride);
    integers(op, "dilation", dilation_arg, rank, dilation);
    const py::object pairs = py::reinterpret_steal<py::object>(PySequence_Tuple(padding_arg.ptr()));
    if (!pairs) {
      PyErr_Clear();
      fail(ErrorKind::dtype, op, ": padding must be a tuple of (before, after) pairs, got ",
           Py_TYPE(padding_arg.ptr())->tp_name);
    }
    const py::tuple t = py::reinterpret_borrow<py::tuple>(pairs);
    check(int(t.size()) == rank, ErrorKind::shape, op, ": padding needs ", rank, " pairs, got ",
          t.size());
    for (int i = 0; i < rank; ++i) {
      int64_t pair[3];
      integers(op, "padding", t[i], 2, pair);
      before[i] = pair[0];
      after[i] = pair[1];
    }
  }

  void solve(const char* op, int rank) {
    for (int i = 0; i < rank; ++i) {
      check(in[i] >= 0, ErrorKind::shape, op, ": input sizes must be at least 0, got ",
            Shape{in, rank});
      check(kernel[i] >= 1, ErrorKind::shape, op, ": kernel sizes must be at least 1, got ",
            Shape{kernel, rank});
      check(stride[i] >= 1, ErrorKind::value, op, ": stride must be at least 1, got ",
            Shape{stride, rank});
      check(dilation[i] >= 1, ErrorKind::value, op, ": dilation must be at least 1, got ",
            Shape{dilation, rank});
      check(before[i] >= 0 && after[i] >= 0, ErrorKind::value, op,
            ": padding must be at least 0, got (", before[i], ", ", after[i], ")");
      int64_t padded, span;
      check(!__builtin_add_overflow(before[i], after[i], &padded) &&
                !__builtin_add_overflow(padded, in[i], &padded) && padded < kLargest,
            ErrorKind::shape, op, ": padding (", before[i], ", ", after[i],
            ") of an input of size ", in[i], " is too large");
      check(!__builtin_mul_overflow(dilation[i], kernel[i] - 1, &span) && span < padded,
            ErrorKind::shape, op, ": a kernel of ", kernel[i], " with dilation ", dilation[i],
            " does not fit the padded input of ", padded, " (input ", in[i], ", padding (",
            before[i], ", ", after[i], "))");
      out[i] = (padded - span - 1) / stride[i] + 1;
      stride[i] = std::min(stride[i], kLargest);
    }
  }

  // The same with axes z, y, x.
  void store(int rank, ConvParams* p) const {
    for (int i = 0; i < 3; ++i) {
      p->in[i] = p->out[i] = p->kernel[i] = p->stride[i] = p->dilation[i] = 1;
      p->before[i] = 0;
    }
    for (int i = 0; i < rank; ++i) {
      const int to = rank == 1 ? 1 : 3 - rank + i;
      p->in[to] = in[i];
      p->out[to] = out[i];
      p->kernel[to] = kernel[i];
      p->stride[to] = stride[i];
      p->before[to] = before[i];
      p->dilation[to] = kernel[i] == 1 ? 1 : dilation[i];  // a lone tap takes no step
    }
  }
};

// (a, b, *spatial) as (a, b, z, y, x).
View five_axes(const View& v) {
  View f = v;
  const int rank = v.ndim - 2;
  f.ndim = 5;
  for (int i = 2; i < 5; ++i) {
    f.shape[i] = 1;
    f.strides[i] = itemsize(v.dtype);
  }
  for (int i = 0; i < rank; ++i) {
    const int to = rank == 1 ? 3 : 5 - rank + i;
    f.shape[to] = v.shape[2 + i];
    f.strides[to] = v.strides[2 + i];
  }
  return f;
}

// An output of this shape in the memory order of like.
Output empty_as(const char* op, const View& like, const int64_t* shape) {
  int order[kMaxDims];
  memory_order(like, order);
  return empty_ordered(op, like.dtype, like.ndim, shape, order);
}

View spatial_view(py::handle h, const char* name, const char* general) {
  const View v = view_of(h, general, name);
  check(v.ndim >= 3 && v.ndim <= 5, ErrorKind::shape, general, ": ", name,
        " must have 3 to 5 dimensions (samples, channels, 1 to 3 spatial axes), got shape ",
        shape_of(v));
  return v;
}

// Stretched axes have no memory of their own, but the packed weight has.
void check_weight_memory(const char* op, const View& w) {
  const int64_t bytes = checked_bytes(op, w.shape, w.ndim, sizeof(double));
  check(size_t(bytes) <= memory_limit(), ErrorKind::memory, op, ": weight of shape ", shape_of(w),
        " exceeds the memory of this machine");
}

void check_weight(const char* op, const View& w, int rank, int64_t groups) {
  check(w.ndim == rank + 2, ErrorKind::shape, op, ": weight must have ", rank + 2,
        " dimensions, got shape ", shape_of(w));
  check(groups >= 1, ErrorKind::value, op, ": groups must be at least 1, got ", groups);
  check(w.shape[0] % groups == 0, ErrorKind::shape, op, ": groups=", groups,
        " does not divide the ", w.shape[0], " output channels of weight ", shape_of(w));
  check_weight_memory(op, w);
}

void check_input_channels(const char* op, const View& x, const View& w, int64_t groups) {
  const int64_t per_group = w.shape[1];
  int64_t channels;
  const bool overflow = __builtin_mul_overflow(per_group, groups, &channels);
  if (!overflow && x.shape[1] == channels) return;
  std::ostringstream repair;
  if (!overflow && x.shape[x.ndim - 1] == channels)
    repair << "; channels seem to be last: input.movedim(-1, 1) would fit";
  else if (x.shape[1] % groups == 0)
    repair << "; in_channels=" << x.shape[1] << " would fit";
  fail(ErrorKind::shape, op, ": weight ", shape_of(w), " expects ", per_group,
       " input channels in each of groups=", groups, ", but axis 1 of input ", shape_of(x), " has ",
       x.shape[1], repair.str());
}

void check_grad(const char* op, const View& g, int64_t samples, int64_t channels,
                const int64_t* out, int rank) {
  int64_t shape[kMaxDims] = {samples, channels};
  std::copy(out, out + rank, shape + 2);
  check(g.ndim == rank + 2 && std::equal(shape, shape + rank + 2, g.shape), ErrorKind::shape, op,
        ": g must have shape ", Shape{shape, rank + 2}, ", got ", shape_of(g));
}

void kernel(const ConvParams& p, const View* views) {
  check(run_conv(p, views), ErrorKind::memory, op_name(p.op, p.rank),
        ": no memory for the working space");
}

bool fold_next(const Node& call, const Node& next, int) {
  auto& p = *reinterpret_cast<ConvParams*>(call.params);
  if (p.op != ConvOp::forward || !fold_function(next, &p.then)) return false;
  call.put(0, call.views[0], next, 0);
  return true;
}

bool layer_axes(const void* params, const View*, int* result, int* weight) {
  *result = 1;
  *weight = 0;
  const auto& p = *static_cast<const ConvParams*>(params);
  return p.op == ConvOp::forward && p.then.kernel == nullptr;  // with it: not linear
}

// In a plan for inference: what the algorithm makes of a weight is kept. Another algorithm, which
// has other errors, is taken only where a weight was changed anyway.
void keep_weight(Keeping& plan, int at) {
  ConvParams p = *static_cast<const ConvParams*>(plan.params(at));
  const Operand weight = plan.operand(at, 2);
  if (p.op != ConvOp::forward || !plan.is_fixed(weight)) return;
  p.weight = ConvWeight::kept;
  const View* const v = plan.views(at);
  if (plan.is_kept(weight)) p.algorithm = choose_conv(op_name(p.op, p.rank), p, v, "");
  View like;
  like.ndim = 1;
  like.shape[0] = kept_floats(p, v);
  like.strides[0] = sizeof(float);
  if (like.shape[0] == 0) return;
  const Operand kept = plan.kept(DType::f32, like);
  plan.change(at, kernel, p,
              {plan.operand(at, 0), plan.operand(at, 1), {}, plan.operand(at, 3), kept});
  plan.set_algorithm(at, conv_name(p));
  p.weight = ConvWeight::making;
  p.then = {};
  plan.keep(kernel, p, {{}, {}, weight, {}, kept});
}

struct FillParams {};

// Nothing to sum: the result is the bias or zero.
void fill(const FillParams&, const View* v) {
  const View &y = v[0], &bias = v[1];
  const int item = itemsize(y.dtype);
  int64_t index[kMaxDims] = {0};
  for (int64_t left = y.size(); left > 0; --left) {
    char* to = y.data;
    for (int i = 0; i < y.ndim; ++i) to += index[i] * y.strides[i];
    if (bias.data == nullptr)
      std::memset(to, 0, item);
    else
      std::memcpy(to, bias.data + index[1] * bias.strides[0], item);
    for (int i = y.ndim - 1; i >= 0 && ++index[i] == y.shape[i]; --i) index[i] = 0;
  }
}

py::object execute(ConvParams p, const Output& out, const View& a, const View& b, const View& bias,
                   const std::string& impl) {
  if (out.view.size() == 0) return out.array;
  if (a.size() == 0 || b.size() == 0) {
    run(fill, FillParams{}, {out.view, bias}, out.view.size());
    return out.array;
  }
  const ConvViews views = {five_axes(out.view), five_axes(a), five_axes(b), bias};
  p.dtype = out.view.dtype;
  p.algorithm = choose_conv(op_name(p.op, p.rank), p, views, impl);
  record_algorithm(conv_name(p));
  run(kernel, p, views, int64_t(std::min(p.flops(), 1e18)));
  return out.array;
}

py::object conv(py::handle x_array, py::handle w_array, py::handle bias_array, py::handle stride,
                py::handle padding, py::handle dilation, py::handle groups_arg,
                const std::string& impl) {
  const View x = spatial_view(x_array, "input", "conv");
  const int rank = x.ndim - 2;
  const char* op = op_name(ConvOp::forward, rank);
  check_float(op, x, "input");
  const View w = view_of(w_array, op, "weight");
  check_same_dtype(op, x, "input", w, "weight");
  const int64_t groups = integer(op, "groups", groups_arg);
  check_weight(op, w, rank, groups);
  check_input_channels(op, x, w, groups);
  View bias;
  if (!bias_array.is_none()) {
    bias = view_of(bias_array, op, "bias");
    check_same_dtype(op, x, "input", bias, "bias");
    check(bias.ndim == 1 && bias.shape[0] == w.shape[0], ErrorKind::shape, op,
          ": bias must have shape (", w.shape[0], ",), got ", shape_of(bias));
  }
  Window window;
  window.read(op, rank, stride, padding, dilation);
  std::copy(x.shape + 2, x.shape + x.ndim, window.in);
  std::copy(w.shape + 2, w.shape + w.ndim, window.kernel);
  window.solve(op, rank);
  int64_t shape[kMaxDims] = {x.shape[0], w.shape[0]};
  std::copy(window.out, window.out + rank, shape + 2);
  ConvParams p{ConvOp::forward, rank, 0, x.shape[0], groups, w.shape[1], w.shape[0] / groups};
  window.store(rank, &p);
  return execute(p, empty_as(op, x, shape), x, w, bias, impl);
}

py::object conv_grad_input(py::handle g_array, py::handle w_array, py::handle in_spatial,
                           py::handle stride, py::handle padding, py::handle dilation,
                           py::handle groups_arg, const std::string& impl) {
  const View g = spatial_view(g_array, "g", "conv_grad_input");
  const int rank = g.ndim - 2;
  const char* op = op_name(ConvOp::grad_input, rank);
  check_float(op, g, "g");
  const View w = view_of(w_array, op, "weight");
  check_same_dtype(op, g, "g", w, "weight");
  const int64_t groups = integer(op, "groups", groups_arg);
  check_weight(op, w, rank, groups);
  Window window;
  window.read(op, rank, stride, padding, dilation);
  integers(op, "in_spatial", in_spatial, rank, window.in);
  std::copy(w.shape + 2, w.shape + w.ndim, window.kernel);
  window.solve(op, rank);
  check_grad(op, g, g.shape[0], w.shape[0], window.out, rank);
  int64_t shape[kMaxDims] = {g.shape[0], 0};
  check(!__builtin_mul_overflow(w.shape[1], groups, &shape[1]), ErrorKind::shape, op,
        ": groups=", groups, " times ", w.shape[1], " channels of weight ", shape_of(w),
        " overflow");
  std::copy(window.in, window.in + rank, shape + 2);
  ConvParams p{ConvOp::grad_input, rank, 0, g.shape[0], groups, w.shape[1], w.shape[0] / groups};
  window.store(rank, &p);
  return execute(p, empty_as(op, g, shape), g, w, View{}, impl);
}

py::object conv_grad_weight(py::handle g_array, py::handle x_array, py::handle kernel_arg,
                            py::handle stride, py::handle padding, py::handle dilation,
                            py::handle groups_arg, const std::string& impl) {
  const View x = spatial_view(x_array, "input", "conv_grad_weight");
  const int rank = x.ndim - 2;
  const char* op = op_name(ConvOp::grad_weight, rank);
  check_float(op, x, "input");
  const View g = view_of(g_array, op, "g");
  check_same_dtype(op, x, "input", g, "g");
  const int64_t groups = integer(op, "groups", groups_arg);
  check(groups >= 1, ErrorKind::value, op, ": groups must be at least 1, got ", groups);
  check(x.shape[1] % groups == 0, ErrorKind::shape, op, ": groups=", groups,
        " does not divide the channels of input ", shape_of(x));
  Window window;
  window.read(op, rank, stride, padding, dilation);
  integers(op, "kernel", kernel_arg, rank, window.kernel);
  std::copy(x.shape + 2, x.shape + x.ndim, window.in);
  window.solve(op, rank);
  check_grad(op, g, x.shape[0], g.ndim > 1 ? g.shape[1] : 0, window.out, rank);
  check(g.shape[1] % groups == 0, ErrorKind::shape, op, ": groups=", groups,
        " does not divide the channels of g ", shape_of(g));
  int64_t shape[kMaxDims] = {g.shape[1], x.shape[1] / groups};
  std::copy(window.kernel, window.kernel + rank, shape + 2);
  ConvParams p{ConvOp::grad_weight, rank, 0, x.shape[0], groups, x.shape[1] / groups,
               g.shape[1] / groups};
  window.store(rank, &p);
  return execute(p, empty(op, x.dtype, rank + 2, shape), g, x, View{}, impl);
}

}  // namespace

void bind_conv(py::module_& m) {
  using py::arg;
  register_fold_next(reinterpret_cast<void (*)()>(kernel), 0, fold_next);
  register_layer(reinterpret_cast<void (*)()>(kernel), layer_axes);
  register_rewrite(reinterpret_cast<void (*)()>(kernel), keep_weight);
  m.def("conv", &conv, arg("x"), arg("w"), arg("bias"), arg("stride"), arg("padding"),
        arg("dilation"), arg("groups"), arg("impl") = "");
  m.def("conv_grad_input", &conv_grad_input, arg("g"), arg("w"), arg("in_spatial"), arg("stride"),
        arg("padding"), arg("dilation"), arg("groups"), arg("impl") = "");
  m.def("conv_grad_weight", &conv_grad_weight, arg("g"), arg("x"), arg("kernel"), arg("stride"),
        arg("padding"), arg("dilation"), arg("groups"), arg("impl") = "");
  m.def("_force_conv", &force_conv);
  m.def("_allow_winograd", &allow_winograd);
  m.def("_winograd_allowed", &winograd_allowed);
}

}  // namespace tg
