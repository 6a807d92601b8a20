// sgd_step and adam_step: in place, any strides. Elements are taken in blocks through local arrays
// of the compute type, so that every stage is one plain loop whatever the dtype and the options.
#include <algorithm>
#include <cmath>

#include "core/array.h"
#include "core/dispatch.h"
#include "core/loop.h"
#include "core/run.h"

namespace tg {
namespace {

constexpr int64_t kGrain = 16384;  // elements a thread should at least update
constexpr int kBlock = 128;

template <class T>
void load_block(const char* p, int64_t stride, int n, compute_t<T>* out) {
  for (int i = 0; i < n; ++i)
    out[i] = compute<T>::load(*reinterpret_cast<const T*>(p + i * stride));
}
template <class T>
void store_block(char* p, int64_t stride, int n, const compute_t<T>* in) {
  for (int i = 0; i < n; ++i) *reinterpret_cast<T*>(p + i * stride) = compute<T>::store(in[i]);
}

// Calls step(pointers, strides, n) with n <= kBlock over all operands.
template <int N, class Step>
void for_blocks(const View* views, Step&& step) {
  const View* operands[N];
  for (int k = 0; k < N; ++k) operands[k] = &views[k];
  const auto loop = make_loop<N>(reinterpret_cast<const View* const(&)[N]>(operands));
  parallel_rows(loop, kGrain, [&](char** p, const int64_t* s, int64_t n) {
    char* q[N];
    for (int64_t i = 0; i < n; i += kBlock) {
      for (int k = 0; k < N; ++k) q[k] = p[k] + i * s[k];
      step(q, s, int(std::min<int64_t>(kBlock, n - i)));
    }
  });
}

struct SgdParams {
  double lr, momentum, dampening, weight_decay;
  bool nesterov, maximize, first, has_buffer;
};

// views: param, grad, momentum buffer (without one: param again, and it is left alone).
void sgd_kernel(const SgdParams& o, const View* views) {
  dispatch_float("sgd_step", views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using C = compute_t<T>;
    const C lr = C(o.lr), momentum = C(o.momentum), fresh = C(1 - o.dampening);
    const C decay = C(o.weight_decay);
    for_blocks<3>(views, [&](char** at, const int64_t* s, int n) {
      C p[kBlock] = {}, g[kBlock] = {}, b[kBlock] = {};
      load_block<T>(at[0], s[0], n, p);
      load_block<T>(at[1], s[1], n, g);
      if (o.maximize)
        for (int i = 0; i < kBlock; ++i) g[i] = -g[i];
      if (o.weight_decay != 0)
        for (int i = 0; i < kBlock; ++i) g[i] = g[i] + decay * p[i];
      if (o.has_buffer) {
        if (o.first) {
          std::copy(g, g + kBlock, b);
        } else {
          load_block<T>(at[2], s[2], n, b);
          for (int i = 0; i < kBlock; ++i) b[i] = momentum * b[i] + fresh * g[i];
        }
        store_block<T>(at[2], s[2], n, b);
        if (o.nesterov)
          for (int i = 0; i < kBlock; ++i) g[i] = g[i] + momentum * b[i];
        else
          std::copy(b, b + kBlock, g);
      }
      for (int i = 0; i < kBlock; ++i) p[i] = p[i] - lr * g[i];
      store_block<T>(at[0], s[0], n, p);
    });
  });
}

struct AdamParams {
  double lr, beta1, beta2, eps, weight_decay;
  double step_size, correction;  // lr / (1 - beta1^t), sqrt(1 - beta2^t)
  bool decoupled, maximize, amsgrad;
};

// views: param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq (without amsgrad: exp_avg_sq again, and
// it is left alone).
void adam_kernel(const AdamParams& o, const View* views) {
  dispatch_float("adam_step", views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using C = compute_t<T>;
    const C shrink = C(1 - o.lr * o.weight_decay), decay = C(o.weight_decay);
    const C fresh1 = C(1 - o.beta1), beta2 = C(o.beta2), fresh2 = C(1 - o.beta2);
    const C correction = C(o.correction), eps = C(o.eps), step_size = C(o.step_size);
    for_blocks<5>(views, [&](char** at, const int64_t* s, int n) {
      C p[kBlock] = {}, g[kBlock] = {}, m[kBlock] = {}, v[kBlock] = {}, top[kBlock] = {};
      load_block<T>(at[0], s[0], n, p);
      load_block<T>(at[1], s[1], n, g);
      load_block<T>(at[2], s[2], n, m);
      load_block<T>(at[3], s[3], n, v);
      if (o.maximize)
        for (int i = 0; i < kBlock; ++i) g[i] = -g[i];
      if (o.weight_decay != 0) {
        if (o.decoupled)
          for (int i = 0; i < kBlock; ++i) p[i] = p[i] * shrink;
        else
          for (int i = 0; i < kBlock; ++i) g[i] = g[i] + decay * p[i];
      }
      for (int i = 0; i < kBlock; ++i) m[i] = m[i] + fresh1 * (g[i] - m[i]);
      for (int i = 0; i < kBlock; ++i) v[i] = beta2 * v[i] + fresh2 * g[i] * g[i];
      store_block<T>(at[2], s[2], n, m);
      store_block<T>(at[3], s[3], n, v);
      if (o.amsgrad) {  // a NaN on either side stays
        load_block<T>(at[4], s[4], n, top);
        for (int i = 0; i < kBlock; ++i) v[i] = top[i] != top[i] || top[i] > v[i] ? top[i] : v[i];
        store_block<T>(at[4], s[4], n, v);
      }
      for (int i = 0; i < kBlock; ++i)
        p[i] = p[i] - step_size * (m[i] / (std::sqrt(v[i]) / correction + eps));
      store_block<T>(at[0], s[0], n, p);
    });
  });
}

View operand(const char* op, py::handle h, const char* name, const View& param, bool writable) {
  const View v = writable ? writable_view_of(h, op, name) : view_of(h, op, name);
  check_same_dtype(op, param, "param", v, name);
  check(v.ndim == param.ndim && std::equal(v.shape, v.shape + v.ndim, param.shape),
        ErrorKind::shape, op, ": ", name, " has shape ", shape_of(v), ", but param has ",
        shape_of(param));
  return v;
}

void sgd_step(py::handle param, py::handle grad, const py::object& momentum_buffer, double lr,
              double momentum, double dampening, double weight_decay, bool nesterov, bool maximize,
              bool first) {
  const char* op = "sgd_step";
  const View p = writable_view_of(param, op, "param");
  check_float(op, p, "param");
  const View g = operand(op, grad, "grad", p, false);
  const bool has_buffer = !momentum_buffer.is_none();
  const View b = has_buffer ? operand(op, momentum_buffer, "momentum_buffer", p, true) : p;
  const SgdParams params{lr,       momentum, dampening, weight_decay,
                         nesterov, maximize, first,     has_buffer};
  run(sgd_kernel, params, {p, g, b}, 4 * p.size());
}

void adam_step(py::handle param, py::handle grad, py::handle exp_avg, py::handle exp_avg_sq,
               const py::object& max_exp_avg_sq, double lr, double beta1, double beta2, double eps,
               double weight_decay, bool decoupled, bool maximize, int64_t step) {
  const char* op = "adam_step";
  const View p = writable_view_of(param, op, "param");
  check_float(op, p, "param");
  const View g = operand(op, grad, "grad", p, false);
  const View m = operand(op, exp_avg, "exp_avg", p, true);
  const View v = operand(op, exp_avg_sq, "exp_avg_sq", p, true);
  const bool amsgrad = !max_exp_avg_sq.is_none();
  const View top = amsgrad ? operand(op, max_exp_avg_sq, "max_exp_avg_sq", p, true) : v;
  check(step >= 1, ErrorKind::value, op, ": expected step >= 1, got ", step);
  const AdamParams params{lr,
                          beta1,
                          beta2,
                          eps,
                          weight_decay,
                          lr / (1 - std::pow(beta1, double(step))),
                          std::sqrt(1 - std::pow(beta2, double(step))),
                          decoupled,
                          maximize,
                          amsgrad};
  run(adam_kernel, params, {p, g, m, v, top}, 8 * p.size());
}

}  // namespace

void bind_optim(py::module_& m) {
  using py::arg;
  m.def("sgd_step", &sgd_step, arg("param"), arg("grad"), arg("momentum_buffer"), arg("lr"),
        arg("momentum"), arg("dampening"), arg("weight_decay"), arg("nesterov"), arg("maximize"),
        arg("first"));
  m.def("adam_step", &adam_step, arg("param"), arg("grad"), arg("exp_avg"), arg("exp_avg_sq"),
        arg("max_exp_avg_sq"), arg("lr"), arg("beta1"), arg("beta2"), arg("eps"),
        arg("weight_decay"), arg("decoupled"), arg("maximize"), arg("step"));
}

}  // namespace tg
