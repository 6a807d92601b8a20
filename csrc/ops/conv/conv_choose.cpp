// Which algorithm computes a convolution: a list with reasons, the first that applies.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "ops/conv/conv.h"

namespace tg {
namespace {

constexpr double kTiny = 4096;  // floating-point operations that cost less than any preparation

bool tiny(const ConvParams& p, const View*) { return p.flops() < kTiny; }
bool depthwise(const ConvParams& p, const View*) { return p.groups > 1 && p.c == 1; }
bool always(const ConvParams&, const View*) { return true; }

struct Algorithm {
  const char *name, *reason;
  bool (*applies)(const ConvParams&, const View*);
  bool (*run)(const ConvParams&, const View*);
};

const Algorithm kAlgorithms[] = {
    {"plain", "next to nothing to do", tiny, conv_plain},
    {"covering", "kernel covers the input: one matrix product", is_covering, conv_covering},
    {"pointwise", "kernel of one tap: one matrix product", is_pointwise, conv_pointwise},
    {"depthwise", "one input channel per group: few rows, wide tiles", depthwise, conv_direct},
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

}  // namespace

int choose_conv(const ConvParams& p, const View* views) {
  const char* forced = g_forced.load();
  int chosen = kCount - 1;
  for (int i = kCount - 1; i >= 0; --i) {
    const Algorithm& a = kAlgorithms[i];
    if (forced != nullptr && std::strcmp(a.name, forced) != 0) continue;
    if (a.applies(p, views)) chosen = i;
  }
  if (verbose()) {
    const Algorithm& a = kAlgorithms[chosen];
    std::fprintf(stderr, "conv%dd%s: %s (%s)\n", p.rank, direction(p.op), a.name, a.reason);
  }
  return chosen;
}

bool run_conv(const ConvParams& p, const View* views) {
  return kAlgorithms[p.algorithm].run(p, views);
}

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
