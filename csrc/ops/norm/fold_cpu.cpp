// A batch norm with fixed statistics in a plan for inference: the layer before it takes over its
// scale and shift, in a weight and a bias that are kept. Source: Jacob et al., "Quantization and
// Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018, section 3.2.
#include <cmath>

#include "core/kept.h"
#include "ops/elementwise/apply.h"
#include "ops/norm/norm.h"

namespace tg {
namespace {

struct FoldParams {
  double eps;
  int axis;  // of the weight, along which the channels lie
};

template <class T>
double value(const View& v, int64_t i, double otherwise) {
  return v.data == nullptr ? otherwise : double(v.ptr<T>()[i * v.strides[0] / int64_t(sizeof(T))]);
}

// to = from * scale, from the axis at on.
template <class T>
void scale(const View& v, char* to, const View& w, const char* from, int at, double by) {
  if (at == v.ndim) {
    *reinterpret_cast<T*>(to) = T(double(*reinterpret_cast<const T*>(from)) * by);
    return;
  }
  for (int64_t i = 0; i < v.shape[at]; ++i)
    scale<T>(v, to + i * v.strides[at], w, from + i * w.strides[at], at + 1, by);
}

// views: the new weight and bias, weight, bias, mean, var, weight and bias of the norm.
void fold(const FoldParams& p, const View* v) {
  dispatch_compute(v[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const View &to = v[0], &w = v[2];
    parallel_for(to.shape[p.axis], 1, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        const double by = value<T>(v[6], c, 1) / std::sqrt(value<T>(v[5], c, 1) + p.eps);
        const double shift = value<T>(v[3], c, 0) - value<T>(v[4], c, 0);
        v[1].ptr<T>()[c] = T(shift * by + value<T>(v[7], c, 0));
        View one = to;
        one.shape[p.axis] = 1;
        scale<T>(one, to.data + c * to.strides[p.axis], w, w.data + c * w.strides[p.axis], 0, by);
      }
    });
  });
}

struct RestParams {
  bool relu;
};

// What is left of it: y += residual, and negative values become 0. views: y, residual.
void rest(const RestParams& p, const View* v) {
  dispatch_compute(v[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T zero = 0, one = 1;
    const T* const z = v[1].ptr<T>();
    T* const y = v[0].ptr<T>();
    constexpr int64_t kPiece = 4096;
    const int64_t size = v[0].size();
    parallel_for((size + kPiece - 1) / kPiece, kNormGrain / kPiece,
                 [&](int64_t begin, int64_t end) {
                   const int64_t from = begin * kPiece, n = std::min(size, end * kPiece) - from;
                   norm_rows<T>().apply(n, y + from, &zero, &one, 0, &one, &zero, 0,
                                        z ? z + from : nullptr, p.relu, y + from);
                 });
  });
}

bool fold_relu(Keeping& plan, int layer, const Operand& y) {
  const DType t = y.view.dtype;
  ElementParams relu{{kernels().elementwise->unary(Unary::relu, t), 1, {t, t}, 0, 0, false}, 1};
  View views[] = {y.view, y.view};
  int buffers[] = {y.buffer, y.buffer};
  const Node next{nullptr,          reinterpret_cast<char*>(&relu), sizeof relu, views, buffers, 2,
                  Arithmetic::exact};
  if (!plan.fold_next(layer, next)) return false;
  plan.set_name(layer, plan.name(layer) + "+relu");
  return true;
}

void fold_into_layer(Keeping& plan, int at) {
  const ChannelLayout p = *static_cast<const ChannelLayout*>(plan.params(at));
  const int layer = plan.maker(at, 0);
  if (layer < 0) return;
  const LayerAxes axes = layer_axes(plan.step(layer).kernel);
  const View *const v = plan.views(layer), x = plan.operand(at, 0).view;
  int channels, axis;
  if (axes == nullptr || !axes(plan.params(layer), v, &channels, &axis)) return;
  // The result has no gaps, so that its channels are those of x if they lie equally far apart.
  if (v[0].dtype != x.dtype || v[0].data != x.data || v[0].size() != x.size() ||
      v[0].shape[channels] != p.channels ||
      (p.channels > 1 && v[0].strides[channels] != p.inner * itemsize(x.dtype)))
    return;
  std::vector<Operand> given{plan.operand(layer, 2), plan.operand(layer, 3)};
  for (int k = 1; k <= 4; ++k) given.push_back(plan.operand(at, k));
  for (const Operand& o : given)
    if (o.view.data != nullptr && !plan.is_fixed(o)) return;

  View bias;
  bias.dtype = x.dtype;
  bias.ndim = 1;
  bias.shape[0] = p.channels;
  bias.strides[0] = itemsize(x.dtype);
  const Operand new_weight = plan.kept(x.dtype, given[0].view), new_bias = plan.kept(x.dtype, bias);
  given.insert(given.begin(), {new_weight, new_bias});
  plan.keep(fold, FoldParams{p.eps, axis}, given);

  const Operand y = plan.operand(at, 6), residual = plan.operand(at, 5);
  Operand result = plan.operand(layer, 0);
  result.view.data = y.view.data;
  result.buffer = y.buffer;
  plan.change_operands(layer, {result, plan.operand(layer, 1), new_weight, new_bias});
  plan.set_name(layer, plan.name(layer) + "+batch_norm");
  if (residual.view.data == nullptr && (!p.relu || fold_relu(plan, layer, result))) {
    plan.drop(at);
  } else {
    plan.change(at, rest, RestParams{p.relu}, {y, residual});
    plan.set_name(at, residual.view.data == nullptr ? "relu" : p.relu ? "add+relu" : "add");
  }
}

}  // namespace

void register_folding() {
  register_rewrite(reinterpret_cast<void (*)()>(batch_norm_kernel), fold_into_layer);
}

}  // namespace tg
