// Which algorithm computes a convolution: a list with reasons, the first that applies.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/check.h"
#include "core/parts.h"
#include "ops/conv/conv.h"
#include "ops/elementwise/apply.h"

namespace tg {
namespace {

constexpr double kSmall = 1 << 20;  // cost less than lowering all rows for many products
constexpr double kTiny = 4096;      // floating-point operations that cost less than any preparation
constexpr double kFolded = 1 << 16;   // elements of patches that a second-level cache holds
constexpr int64_t kPositions = 1000;  // fewer make sums whose errors F(5, 2) cannot follow

bool tiny(const ConvParams& p, const View*) { return p.flops() < kTiny; }
// Short runs of taps cost more to gather than the phases of a stride that the direct sums make.
bool small(const ConvParams& p, const View*) {
  if (p.op == ConvOp::grad_weight)
    return p.flops() < kSmall && p.n == 1 && (p.c > 1 || p.stride[2] > 1);
  return p.flops() < kSmall / 4 && p.stride[2] > 1 && p.kernel[2] > 4;
}
// The input of few channels, larger than the output: its gradient by the direct sums multiplies
// padding, while the matrix of patches has none, and its rows are added while a cache holds them.
bool folds(const ConvParams& p) {
  const double rows = double(p.out[0] * p.out[1]), o = double(p.o), terms = double(p.c * p.taps());
  const double fold = 4 * rows * double(ceil_div(p.out[2], 16));
  const double product = o * double(ceil_div(p.pixels(), 16));
  const double direct = o * double(ceil_div(p.in[0] * p.in[1] * p.in[2], 16));
  return p.op == ConvOp::grad_input && p.groups == 1 && p.c <= 8 && p.stride[2] == 1 &&
         p.dilation[2] == 1 && terms * double(p.pixels()) < kFolded &&
         product + fold < 0.8 * direct;
}
bool worth_patches(const ConvParams& p, const View* v) { return small(p, v) || folds(p); }
bool always(const ConvParams&, const View*) { return true; }

std::atomic<bool> g_winograd{true};

// Vector multiply-adds of the sums themselves, and what F(m x m, r x r) takes instead: products,
// transforms of tiles, and that of the weight, which many pixels must pay for.
double direct_cost(const ConvParams& p) { return p.flops() / (sums_pairs(p) ? 64 : 32); }
double winograd_cost(const ConvParams& p, int64_t m, int64_t n, double weight) {
  const int64_t* out = p.op == ConvOp::grad_input && p.stride[1] == 1 ? p.in : p.out;
  double tiles = double(p.n);
  for (int i = 1; i < 3; ++i) {
    const int64_t d = p.dilation[i];  // so many images of their own
    tiles *= double(d * ceil_div(ceil_div(out[i], d), m));
  }
  const double c = double(p.c), o = double(p.o), points = double(n * n);
  return double(p.groups) * points * (c * o * (tiles + weight) + 6 * tiles * (c + o)) / 16;
}
double winograd_cost(const ConvParams& p, int64_t m) {
  return winograd_cost(p, m, m + p.kernel[2] - 1, p.weight == ConvWeight::kept ? 0 : 4);
}
// Between the two: a weight that is kept has to be read from memory.
bool four_is_less(const ConvParams& p) {
  const double weight = p.weight == ConvWeight::kept ? 8 : 4;
  return winograd_cost(p, 4, 6, weight) < winograd_cost(p, 2, 4, weight);
}
bool worth_winograd(const ConvParams& p, double cost) {
  return g_winograd.load() && p.c >= 16 && p.o >= 16 && p.flops() > 1e6 && cost < direct_cost(p);
}
bool worth_4x3(const ConvParams& p, const View*) {
  return worth_winograd(p, winograd_cost(p, 4)) && four_is_less(p);
}
bool worth_2(const ConvParams& p, const View*) {
  const bool few = p.kernel[2] == 5 && times(p.n, p.pixels()) < kPositions;
  if (p.op == ConvOp::grad_weight && few) return false;
  return worth_winograd(p, winograd_cost(p, 2));
}
bool worth_by_2(const ConvParams& p, const View*) {
  return worth_winograd(p, winograd_cost(p, 4, 9, p.weight == ConvWeight::kept ? 0 : 4));
}

// Whole vectors of channels. Shorter sums do not pay for turning the result over, and longer rows
// of positions fill the vectors of the direct sums.
bool worth_lanes(const ConvParams& p, const View*) {
  const bool turned = p.op == ConvOp::grad_input;
  const int64_t lanes = turned ? p.c : p.o, terms = (turned ? p.o : p.c) * p.taps();
  const int64_t row = (turned ? p.in : p.out)[2];
  return lanes % 16 == 0 && terms >= 100 && row >= 8 && row <= 64;
}

struct Algorithm {
  const char *name, *reason;
  bool (*applies)(const ConvParams&, const View*);
  bool (*run)(const ConvParams&, const View*);
  bool (*worth)(const ConvParams&, const View*) = always;
  const char* needs = "";  // what decides whether it applies
};

const char* const kWinograd3 = "3 x 3 taps, strides of 1 and no float64";
const Algorithm kAlgorithms[] = {
    {"plain", "next to nothing to do", tiny, conv_plain},
    {"covering", "kernel covers the input: one matrix product", is_covering, conv_covering, always,
     "row-major operands, and a kernel as large as the input, which is not padded"},
    {"pointwise", "kernel of one tap: one matrix product", is_pointwise, conv_pointwise, always,
     "one tap, no padding, images without gaps, and for the gradient of the weight 32 channels"},
    {"patches", "the patch under every output is a row", is_patches, conv_patches, worth_patches,
     "float32 or float64, a row-major weight, and images of the output without gaps"},
    {"winograd_4x3", "F(4x4, 3x3), a quarter of the products", is_winograd3, conv_winograd_4x3,
     worth_4x3, kWinograd3},
    {"winograd_2x3", "F(2x2, 3x3), small images", is_winograd3, conv_winograd_2x3, worth_2,
     kWinograd3},
    {"winograd_2x5", "F(2x2, 5x5), a third of the products", is_winograd5, conv_winograd_2x5,
     worth_2, "5 x 5 taps, strides of 1 and no float64"},
    {"winograd_4x3_by_2", "F(4x4, 2x2) on the phases of stride 2", is_winograd3_by_2,
     conv_winograd_4x3_by_2, worth_by_2, "3 x 3 taps, strides of 2 and no float64"},
    {"depthwise", "one channel per group: taps are masked offsets", is_depthwise, conv_depthwise,
     always, "one channel in and out per group, small planes without gaps, and no float64"},
    {"output_lanes", "lanes are output channels, taps offsets into the image", is_output_lanes,
     conv_output_lanes, worth_lanes,
     "float32 or float64, one group, few terms per sum, no strides for gradients, and for that of "
     "the "
     "weight 3, 5 or 7 taps in a row"},
    {"direct", "rows lowered once, taps are offsets into them", always, conv_direct},
    {"plain", "the formula itself", always, conv_plain},
};
constexpr int kCount = sizeof kAlgorithms / sizeof kAlgorithms[0];

std::atomic<const char*> g_forced{nullptr};

bool verbose() {
  static const bool on = [] {
    const char* text = std::getenv("TILEGRAD_VERBOSE");
    return text != nullptr && std::strcmp(text, "0") != 0 && *text != '\0';
  }();
  return on;
}

const char* direction(ConvOp op) {
  return op == ConvOp::forward ? "" : op == ConvOp::grad_input ? "_grad_input" : "_grad_weight";
}

// The row of this name that applies.
int named(const char* op, const ConvParams& p, const View* views, const std::string& impl) {
  std::string names;
  const Algorithm* same = nullptr;
  for (int i = 1; i < kCount; ++i) {  // the first is the last again
    const Algorithm& a = kAlgorithms[i];
    names += (i > 1 ? ", " : "") + std::string(a.name);
    if (impl != a.name) continue;
    if (a.applies(p, views)) return i;
    same = &a;
  }
  if (same == nullptr)
    fail(ErrorKind::value, op, ": impl must be '' or one of ", names, "; got '", impl, "'");
  fail(ErrorKind::value, op, ": impl='", impl, "' does not apply: it needs ", same->needs);
}

}  // namespace

int choose_conv(const char* op, const ConvParams& p, const View* views, const std::string& impl) {
  if (!impl.empty()) return named(op, p, views, impl);
  const char* forced = g_forced.load();
  int chosen = kCount - 1;
  for (int i = kCount - 1; i >= 0; --i) {
    const Algorithm& a = kAlgorithms[i];
    if (forced != nullptr && std::strcmp(a.name, forced) != 0) continue;
    if (a.applies(p, views) && (forced != nullptr || a.worth(p, views))) chosen = i;
  }
  if (verbose()) {
    const Algorithm& a = kAlgorithms[chosen];
    std::fprintf(stderr, "conv%dd%s: %s (%s)\n", p.rank, direction(p.op), a.name, a.reason);
  }
  return chosen;
}

int64_t kept_floats(const ConvParams& p, const View* views) {
  return winograd_floats(p, views, kAlgorithms[p.algorithm].name);
}

bool run_conv(const ConvParams& p, const View* views) {
  const Algorithm& a = kAlgorithms[p.algorithm];
  if (!a.run(p, views)) return false;
  const bool done = p.then_of_y() != nullptr && a.run != conv_plain && a.run != conv_output_lanes;
  if (p.then.kernel != nullptr && !done) apply_then(p.then, views[0]);
  return true;
}
const char* conv_name(const ConvParams& p) { return kAlgorithms[p.algorithm].name; }

void allow_winograd(bool allowed) { g_winograd.store(allowed); }
bool winograd_allowed() { return g_winograd.load(); }

bool force_conv(const char* name) {
  if (*name == '\0') {
    g_forced.store(nullptr);
    return true;
  }
  for (const Algorithm& a : kAlgorithms)
    if (std::strcmp(a.name, name) == 0) {
      g_forced.store(a.name);
      return true;
    }
  return false;
}

}  // namespace tg
