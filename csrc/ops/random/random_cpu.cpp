// random_uniform, random_normal, random_int and dropout. An element's value depends on the key, the
// offset and its row-major index alone.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/args.h"
#include "core/array.h"
#include "core/dispatch.h"
#include "core/loop.h"
#include "core/run.h"
#include "ops/random/philox.h"

namespace tg {
namespace {

constexpr int64_t kGrain = 64 * kPhiloxWords;  // elements a thread should at least draw

struct StreamParams {
  uint64_t key, offset;
};

template <class T>
constexpr int kWordsPerElement = sizeof(T) == 8 ? 2 : 1;

// Calls draw(words, out) for groups of kPhiloxWords / kWordsPerElement<T> elements of [begin, end),
// begin a multiple of the group; draw fills a whole group.
template <class T, class Draw>
void fill_groups(const StreamParams& stream, T* y, int64_t begin, int64_t end, Draw&& draw) {
  constexpr int64_t group = kPhiloxWords / kWordsPerElement<T>;
  uint32_t words[kPhiloxWords];
  T out[group];
  for (int64_t i = begin; i < end; i += group) {
    philox(stream.key, stream.offset + uint64_t(i / group) * kPhiloxBlocks, words);
    draw(words, out);
    std::memcpy(y + i, out, std::min(group, end - i) * sizeof(T));
  }
}

// As many bits as the fraction of T holds exactly, so that the result stays below 1.
void uniforms(const uint32_t* words, float* out) {
  for (int i = 0; i < kPhiloxWords; ++i) out[i] = float(int32_t(words[i] >> 8)) * 0x1p-24f;
}
void uniforms(const uint32_t* words, double* out) {
  for (int i = 0; i < kPhiloxWords / 2; ++i)
    out[i] = double(int64_t(word64(words, i) >> 11)) * 0x1p-53;
}
void uniforms(const uint32_t* words, half* out) {
  for (int i = 0; i < kPhiloxWords; ++i) out[i] = to_half(float(words[i] >> 21) * 0x1p-11f);
}
void uniforms(const uint32_t* words, bfloat16* out) {
  for (int i = 0; i < kPhiloxWords; ++i) out[i] = to_bfloat16(float(words[i] >> 24) * 0x1p-8f);
}

// views: y.
void uniform_kernel(const StreamParams& params, const View* views) {
  dispatch_float("random_uniform", views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_for(views[0].size(), kGrain, [&](int64_t begin, int64_t end) {
      fill_groups(params, views[0].ptr<T>(), begin, end,
                  [](const uint32_t* words, T* out) { uniforms(words, out); });
    });
  });
}

// log(x) of a normal x > 0: x = 2^e m with m in [sqrt(1/2), sqrt(2)), and
// log m = 2 atanh(s), s = (m - 1) / (m + 1), by the series of atanh.
float log_positive(float x) {
  const int32_t bits = int32_t(float_to_bits(x)) - 0x3f3504f3;
  const int32_t e = bits >> 23;
  const float m = bits_to_float(uint32_t((bits & 0x7fffff) + 0x3f3504f3));
  const float s = (m - 1) / (m + 1), t = s * s;
  const float series = 1 + t * (1.f / 3 + t * (1.f / 5 + t * (1.f / 7 + t * (1.f / 9))));
  return 2 * s * series + float(e) * 0.693147180559945f;
}

// Box-Muller on pairs (u0, u1): in place u0 -> r cos(2 pi u1), u1 -> r sin(2 pi u1). The angle is
// reduced in turns, which is exact: u1 = q / 4 + f with |f| <= 1/8, then Taylor series.
void box_muller(float* u) {
  for (int i = 0; i < kPhiloxWords; i += 2) {
    const float r = std::sqrt(-2 * log_positive(1 - u[i])), u1 = u[i + 1];
    const int32_t q = int32_t(u1 * 4 + 0.5f);
    const float x = (u1 - float(q) * 0.25f) * 6.283185307179586f, t = x * x;
    const float sine =
        x * (1 + t * (-1.f / 6 + t * (1.f / 120 + t * (-1.f / 5040 + t * (1.f / 362880)))));
    const float cosine = 1 + t * (-0.5f + t * (1.f / 24 + t * (-1.f / 720 + t * (1.f / 40320))));
    const bool swap = q & 1;
    const float c = swap ? sine : cosine, s = swap ? cosine : sine;
    u[i] = r * ((q + 1) & 2 ? -c : c);
    u[i + 1] = r * (q & 2 ? -s : s);
  }
}
void box_muller(double* u) {
  for (int i = 0; i < kPhiloxWords / 2; i += 2) {
    const double r = std::sqrt(-2 * std::log(1 - u[i])), angle = u[i + 1] * 6.283185307179586;
    u[i] = r * std::cos(angle);
    u[i + 1] = r * std::sin(angle);
  }
}

// views: y.
void normal_kernel(const StreamParams& params, const View* views) {
  dispatch_float("random_normal", views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_for(views[0].size(), kGrain, [&](int64_t begin, int64_t end) {
      fill_groups(params, views[0].ptr<T>(), begin, end, [](const uint32_t* words, T* out) {
        compute_t<T> u[kPhiloxWords / kWordsPerElement<T>];
        uniforms(words, u);
        box_muller(u);
        for (int i = 0; i < kPhiloxWords / kWordsPerElement<T>; ++i)
          out[i] = compute<T>::store(u[i]);
      });
    });
  });
}

struct IntParams {
  StreamParams stream;
  int64_t low;
  uint64_t range;
};

// views: y (int64). floor(u range / 2^64) is the high half of a 128-bit product.
void int_kernel(const IntParams& params, const View* views) {
  parallel_for(views[0].size(), kGrain, [&](int64_t begin, int64_t end) {
    fill_groups(params.stream, views[0].ptr<int64_t>(), begin, end,
                [&](const uint32_t* words, int64_t* out) {
                  for (int i = 0; i < kPhiloxWords / 2; ++i) {
                    const auto product = (unsigned __int128)word64(words, i) * params.range;
                    out[i] = int64_t(uint64_t(params.low) + uint64_t(product >> 64));
                  }
                });
  });
}

struct DropoutParams {
  StreamParams stream;
  double scale;        // 1 / (1 - p)
  uint32_t threshold;  // of 24-bit uniforms: those below it are dropped
  bool direct;         // y and x are row major
};

template <class T>
T kept(bool keep, T x, compute_t<T> scale) {
  const compute_t<T> y = compute<T>::load(x) * scale;
  return compute<T>::store(keep ? y : 0);
}

// views: y, x, one byte per element (only if not direct; row major).
void dropout_kernel(const DropoutParams& params, const View* views) {
  const View &y = views[0], &x = views[1];
  const uint32_t threshold = params.threshold;
  dispatch_float("dropout", y.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto scale = compute_t<T>(params.scale);
    if (params.direct) {
      parallel_for(y.size(), kGrain, [&](int64_t begin, int64_t end) {
        uint32_t words[kPhiloxWords];
        T in[kPhiloxWords] = {}, out[kPhiloxWords];
        for (int64_t i = begin; i < end; i += kPhiloxWords) {
          const int64_t bytes = std::min<int64_t>(kPhiloxWords, end - i) * sizeof(T);
          philox(params.stream.key, params.stream.offset + uint64_t(i / 4), words);
          std::memcpy(in, x.ptr<T>() + i, bytes);
          for (int j = 0; j < kPhiloxWords; ++j)
            out[j] = kept(int32_t(words[j] >> 8) >= int32_t(threshold), in[j], scale);
          std::memcpy(y.ptr<T>() + i, out, bytes);
        }
      });
      return;
    }
    parallel_for(y.size(), kGrain, [&](int64_t begin, int64_t end) {
      uint32_t words[kPhiloxWords];
      for (int64_t i = begin; i < end; i += kPhiloxWords) {
        philox(params.stream.key, params.stream.offset + uint64_t(i / 4), words);
        uint8_t* mask = views[2].ptr<uint8_t>() + i;
        const int64_t n = std::min<int64_t>(kPhiloxWords, end - i);
        for (int64_t j = 0; j < n; ++j) mask[j] = (words[j] >> 8) >= threshold;
      }
    });
    const auto loop = make_loop<3>({&y, &x, &views[2]});
    parallel_rows(loop, kGrain, [&](char** p, const int64_t* s, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        *reinterpret_cast<T*>(p[0] + i * s[0]) =
            kept(p[2][i * s[2]] != 0, *reinterpret_cast<const T*>(p[1] + i * s[1]), scale);
    });
  });
}

Output empty_of(const char* op, DType dtype, const py::tuple& shape) {
  int64_t dims[kMaxDims];
  const int ndim = integers_of(shape, dims, kMaxDims, op, "shape");
  return empty(op, dtype, ndim, dims);
}

template <void (*kKernel)(const StreamParams&, const View*)>
py::object random_float(const char* op, const py::tuple& shape, py::handle dtype, uint64_t key,
                        uint64_t offset) {
  const DType t = dtype_of(dtype, op);
  check(is_float(t), ErrorKind::dtype, op, ": expected a floating dtype, got ", dtype_name(t));
  Output y = empty_of(op, t, shape);
  record_stream(0);
  run(kKernel, StreamParams{key, offset}, {y.view}, 4 * y.view.size(), Arithmetic::exact);
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
  DropoutParams params{{key, offset}, p < 1 ? 1 / (1 - p) : 0, 0, true};
  params.threshold = uint32_t(std::ceil(p * 0x1p24));
  params.direct = x.row_major() && y.view.row_major();
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
