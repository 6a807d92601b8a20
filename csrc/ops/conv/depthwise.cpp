// One channel per group, results as large as their input: taps are offsets into a plane as it lies,
// and masks keep them off its edges.
#include <algorithm>
#include <atomic>
#include <vector>

#include "core/parallel.h"
#include "core/parts.h"
#include "cpu/finish.h"
#include "cpu/gemm_half.h"
#include "cpu/isa/depthwise_kernels.h"
#include "cpu/isa/kernels.h"
#include "ops/conv/conv.h"
#include "ops/conv/lower.h"

namespace tg {
namespace {

constexpr int64_t kMaskBytes = 1 << 20;  // of a plane
constexpr int64_t kWidened = 4096;       // values of half types
constexpr double kPerThread = 1 << 17;   // multiply-adds worth waking a thread for

// Whether positions of a plane follow each other.
bool flat_planes(const View& v) {
  int64_t expected = itemsize(v.dtype);
  for (int i = 4; i >= 2; --i) {
    if (v.shape[i] != 1 && v.strides[i] != expected) return false;
    expected *= v.shape[i];
  }
  return true;
}

// Offsets and masks of the taps; back: of the gradient of the input.
struct Taps {
  std::vector<int64_t> offset;
  std::vector<uint32_t> masks;

  Taps(const ConvParams& p, bool back, int64_t lanes) {
    const int64_t taps = p.taps(), size = p.pixels(), width = p.out[2];
    masks.assign(size_t(ceil_div(size, lanes) * taps), 0);
    for (int64_t t = 0; t < taps; ++t) {
      int64_t at[3] = {t / (p.kernel[1] * p.kernel[2]), t / p.kernel[2] % p.kernel[1],
                       t % p.kernel[2]};
      int64_t low[3], high[3];  // positions that read inside
      for (int i = 0; i < 3; ++i) {
        at[i] = back ? -tap_at(p, i, at[i]) : tap_at(p, i, at[i]);
        low[i] = std::clamp<int64_t>(-at[i], 0, p.out[i]);
        high[i] = std::clamp<int64_t>(p.out[i] - at[i], low[i], p.out[i]);
      }
      offset.push_back((at[0] * p.out[1] + at[1]) * width + at[2]);
      for (int64_t z = low[0]; z < high[0]; ++z)
        for (int64_t y = low[1]; y < high[1]; ++y) {
          const int64_t row = (z * p.out[1] + y) * width, end = row + high[2];
          for (int64_t q = row + low[2], n; q < end; q += n) {
            const int64_t lane = q % lanes;
            n = std::min(lanes - lane, end - q);
            masks[size_t(q / lanes * taps + t)] |= ((1u << n) - 1) << lane;
          }
        }
    }
  }
};

}  // namespace

bool is_depthwise(const ConvParams& p, const View* v) {
  if (v[0].dtype == DType::f64 || p.c != 1 || p.o != 1 || p.groups == 1) return false;
  for (int i = 0; i < 3; ++i)
    if (p.stride[i] != 1 || p.in[i] != p.out[i]) return false;
  // Far taps have no offsets that make sense, large planes too many masks.
  if (times(times(p.pixels(), p.taps()), sizeof(uint32_t)) / kernels().depthwise->lanes >
      kMaskBytes)
    return false;
  const bool weight = p.op == ConvOp::grad_weight;
  return flat_planes(v[1]) && flat_planes(weight ? v[2] : v[0]);
}

bool conv_depthwise(const ConvParams& p, const View* v) {
  const DepthwiseKernels& k = *kernels().depthwise;
  const int64_t taps = p.taps(), channels = p.groups, pixels = p.pixels();
  const Taps table(p, p.op == ConvOp::grad_input, k.lanes);
  const bool half_type = is_half(v[0].dtype);
  const int64_t item = itemsize(v[0].dtype);
  DepthwiseArgs d{taps, pixels, table.offset.data(), table.masks.data()};
  const auto plane = [](const View& a, int64_t n, int64_t c) {
    return a.data + n * a.strides[0] + c * a.strides[1];
  };
  // Some planes along an axis as floats, those of half types in memory; and back.
  const auto read = [&](const View& a, int64_t n, int64_t c, int64_t count, int axis, float* to) {
    if (!half_type) return reinterpret_cast<const float*>(plane(a, n, c));
    dispatch_single(a.dtype, [&](auto tag) {
      using S = typename decltype(tag)::type;
      if constexpr (sizeof(S) == 2)
        for (int64_t i = 0; i < count; ++i)
          half_table(*kernels().gemm, S())
              .widen(to + i * pixels,
                     reinterpret_cast<const S*>(plane(a, n, c) + i * a.strides[axis]), pixels);
    });
    return const_cast<const float*>(to);
  };
  const auto narrow = [&](const float* from, char* to, int64_t values) {
    dispatch_single(v[0].dtype, [&](auto tag) {
      using S = typename decltype(tag)::type;
      if constexpr (sizeof(S) == 2)
        half_table(*kernels().gemm, S()).narrow(reinterpret_cast<S*>(to), from, values);
    });
  };
  std::atomic<bool> ok{true};
  if (p.op == ConvOp::grad_weight) {
    const auto fold = kernels().gemm->f32.fold;
    d.planes = p.n;
    d.out = half_type ? pixels : v[1].strides[0] / item;
    d.in = half_type ? pixels : v[2].strides[0] / item;
    const int64_t grain = int64_t(kPerThread / double(p.n * pixels * taps + 1)) + 1;
    const int64_t copy = half_type ? bytes_of<float>(times(p.n, pixels)) : 0;
    parallel_for(channels, grain, [&](int64_t begin, int64_t end) {
      const Scratch sums(2 * copy + bytes_of<float>(taps * (k.lanes + 1)));
      if (!sums) return ok.store(false, std::memory_order_relaxed);
      float *const lanes = sums.at<float>(2 * copy), *const folded = lanes + taps * k.lanes;
      for (int64_t c = begin; c < end; ++c) {
        k.weight(d, read(v[1], 0, c, p.n, 0, sums.at<float>(0)),
                 read(v[2], 0, c, p.n, 0, sums.at<float>(copy)), lanes);
        char* const to = v[0].data + c * taps * item;
        fold(lanes, half_type ? folded : reinterpret_cast<float*>(to), taps);
        if (half_type) narrow(folded, to, taps);
      }
    });
    return ok.load();
  }
  const View& bias = v[3];
  const int64_t copied = is_row_major<float>(v[2]) ? 0 : bytes_of<float>(v[2].size());
  const Scratch scratch(copied + bytes_of<float>(channels));
  if (!scratch) return false;
  const float* const w = row_major_values(v[2], scratch.at<float>(0));
  float* const add = scratch.at<float>(copied);
  for (int64_t c = 0; c < channels; ++c)
    add[c] = bias.data == nullptr || p.op == ConvOp::grad_input ? 0.0f : value_at(bias, c);
  d.in = half_type ? pixels : v[1].strides[1] / item;
  d.out = half_type ? pixels : v[0].strides[1] / item;
  const int64_t grain = int64_t(kPerThread / double(pixels * taps + 1)) + 1;
  // Planes of half types that are widened at a time stay in the first-level cache.
  const int64_t some_planes = half_type ? std::max<int64_t>(1, kWidened / pixels) : p.n * channels;
  const int64_t copy = half_type ? bytes_of<float>(some_planes * pixels) : 0;
  parallel_for(p.n * channels, grain, [&](int64_t begin, int64_t end) {
    const Scratch space(2 * copy);
    if (!space) return ok.store(false, std::memory_order_relaxed);
    DepthwiseArgs some = d;
    for (int64_t i = begin; i < end; i += some.planes) {
      const int64_t n = i / channels, c = i % channels;
      some.planes = std::min({channels - c, end - i, some_planes});
      float* const y =
          half_type ? space.at<float>(copy) : reinterpret_cast<float*>(plane(v[0], n, c));
      k.correlate(some, w + c * taps, read(v[1], n, c, some.planes, 1, space.at<float>(0)), add + c,
                  y);
      finish(p.then_of_y(), y, d.out, some.planes, pixels);
      for (int64_t q = 0; half_type && q < some.planes; ++q)
        narrow(y + q * pixels, plane(v[0], n, c + q), pixels);
    }
  });
  return ok.load();
}

}  // namespace tg
