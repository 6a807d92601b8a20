// One channel per group, results as large as their input: taps are offsets into a plane as it lies,
// and masks keep them off its edges.
#include <algorithm>
#include <atomic>
#include <vector>

#include "core/parallel.h"
#include "core/parts.h"
#include "cpu/isa/depthwise_kernels.h"
#include "cpu/isa/kernels.h"
#include "ops/conv/conv.h"
#include "ops/conv/lower.h"

namespace tg {
namespace {

constexpr int64_t kMaskBytes = 1 << 20;  // of a plane
constexpr double kPerThread = 1 << 17;   // multiply-adds worth waking a thread for

// Whether positions of a plane follow each other.
bool flat_planes(const View& v) {
  int64_t expected = sizeof(float);
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
  if (v[0].dtype != DType::f32 || p.c != 1 || p.o != 1 || p.groups == 1) return false;
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
  const int64_t item = sizeof(float);
  DepthwiseArgs d{taps, pixels, table.offset.data(), table.masks.data()};
  const auto plane = [](const View& a, int64_t n, int64_t c) {
    return reinterpret_cast<float*>(a.data + n * a.strides[0] + c * a.strides[1]);
  };
  std::atomic<bool> ok{true};
  if (p.op == ConvOp::grad_weight) {
    const auto fold = kernels().gemm->f32.fold;
    d.planes = p.n;
    d.out = v[1].strides[0] / item;
    d.in = v[2].strides[0] / item;
    const int64_t grain = int64_t(kPerThread / double(p.n * pixels * taps + 1)) + 1;
    parallel_for(channels, grain, [&](int64_t begin, int64_t end) {
      const Scratch sums(bytes_of<float>(taps * k.lanes));
      if (!sums) return ok.store(false, std::memory_order_relaxed);
      for (int64_t c = begin; c < end; ++c) {
        k.weight(d, plane(v[1], 0, c), plane(v[2], 0, c), sums.at<float>(0));
        fold(sums.at<float>(0), v[0].ptr<float>() + c * taps, taps);
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
    add[c] = bias.data == nullptr || p.op == ConvOp::grad_input
                 ? 0.0f
                 : *reinterpret_cast<const float*>(bias.data + c * bias.strides[0]);
  d.in = v[1].strides[1] / item;
  d.out = v[0].strides[1] / item;
  const int64_t grain = int64_t(kPerThread / double(pixels * taps + 1)) + 1;
  parallel_for(p.n * channels, grain, [&](int64_t begin, int64_t end) {
    DepthwiseArgs some = d;
    for (int64_t i = begin; i < end; i += some.planes) {
      const int64_t n = i / channels, c = i % channels;
      some.planes = std::min(channels - c, end - i);
      k.correlate(some, w + c * taps, plane(v[1], n, c), add + c, plane(v[0], n, c));
    }
  });
  return true;
}

}  // namespace tg
