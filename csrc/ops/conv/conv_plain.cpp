// Convolution as its formula: the last resort, and cheapest where there is next to nothing to do.
#include "core/dispatch.h"
#include "core/parallel.h"
#include "ops/conv/conv.h"

namespace tg {
namespace {

constexpr int64_t kGrain = 1 << 14;  // multiply-adds of one piece of work

struct Position {
  int64_t at[3];
};

// Calls f for every position of a grid, row-major.
template <class F>
void each(const int64_t* sizes, F&& f) {
  Position p;
  for (p.at[0] = 0; p.at[0] < sizes[0]; ++p.at[0])
    for (p.at[1] = 0; p.at[1] < sizes[1]; ++p.at[1])
      for (p.at[2] = 0; p.at[2] < sizes[2]; ++p.at[2]) f(p);
}

// The input position output o reads at tap t; false where that is padding.
bool input_of(const ConvParams& p, const Position& o, const Position& t, Position* in) {
  for (int i = 0; i < 3; ++i) {
    in->at[i] = o.at[i] * p.stride[i] + tap_at(p, i, t.at[i]);
    if (in->at[i] < 0 || in->at[i] >= p.in[i]) return false;
  }
  return true;
}

// The output position that reads input i at tap t; false where there is none.
bool output_of(const ConvParams& p, const Position& in, const Position& t, Position* o) {
  for (int i = 0; i < 3; ++i) {
    const int64_t from = in.at[i] - tap_at(p, i, t.at[i]);
    if (from < 0 || from % p.stride[i] != 0) return false;
    o->at[i] = from / p.stride[i];
    if (o->at[i] >= p.out[i]) return false;
  }
  return true;
}

template <class S>
S& element(const View& v, int64_t a, int64_t b, const Position& p) {
  return *reinterpret_cast<S*>(v.data + a * v.strides[0] + b * v.strides[1] +
                               p.at[0] * v.strides[2] + p.at[1] * v.strides[3] +
                               p.at[2] * v.strides[4]);
}
template <class S>
compute_t<S> value(const View& v, int64_t a, int64_t b, const Position& p) {
  return compute<S>::load(element<S>(v, a, b, p));
}

template <class S>
void forward(const ConvParams& p, const View* v, int64_t n, int64_t o) {
  using T = compute_t<S>;
  const int64_t group = o / p.o;
  const T start =
      v[3].data == nullptr
          ? T(0)
          : compute<S>::load(*reinterpret_cast<const S*>(v[3].data + o * v[3].strides[0]));
  each(p.out, [&](const Position& at) {
    T sum = 0;
    for (int64_t c = 0; c < p.c; ++c)
      each(p.kernel, [&](const Position& t) {
        Position in;
        if (input_of(p, at, t, &in))
          sum += value<S>(v[1], n, group * p.c + c, in) * value<S>(v[2], o, c, t);
      });
    element<S>(v[0], n, o, at) = compute<S>::store(sum + start);
  });
}

template <class S>
void grad_input(const ConvParams& p, const View* v, int64_t n, int64_t channel) {
  using T = compute_t<S>;
  const int64_t group = channel / p.c, c = channel % p.c;
  each(p.in, [&](const Position& at) {
    T sum = 0;
    for (int64_t o = group * p.o; o < (group + 1) * p.o; ++o)
      each(p.kernel, [&](const Position& t) {
        Position from;
        if (output_of(p, at, t, &from)) sum += value<S>(v[1], n, o, from) * value<S>(v[2], o, c, t);
      });
    element<S>(v[0], n, channel, at) = compute<S>::store(sum);
  });
}

template <class S>
void grad_weight(const ConvParams& p, const View* v, int64_t o, int64_t c) {
  using T = compute_t<S>;
  const int64_t group = o / p.o;
  each(p.kernel, [&](const Position& t) {
    T sum = 0;
    for (int64_t n = 0; n < p.n; ++n)
      each(p.out, [&](const Position& at) {
        Position in;
        if (input_of(p, at, t, &in))
          sum += value<S>(v[1], n, o, at) * value<S>(v[2], n, group * p.c + c, in);
      });
    element<S>(v[0], o, c, t) = compute<S>::store(sum);
  });
}

}  // namespace

bool conv_plain(const ConvParams& p, const View* v) {
  dispatch_float("conv", v[0].dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    const auto one = p.op == ConvOp::forward      ? forward<S>
                     : p.op == ConvOp::grad_input ? grad_input<S>
                                                  : grad_weight<S>;
    const int64_t channels = v[0].shape[1], count = v[0].shape[0] * channels;
    const double each_flops = p.flops() / 2 / double(count);
    parallel_for(count, int64_t(double(kGrain) / (each_flops + 1)) + 1,
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) one(p, v, i / channels, i % channels);
                 });
  });
  return true;
}

}  // namespace tg
