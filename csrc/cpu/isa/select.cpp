#include <atomic>
#include <cstdlib>
#include <cstring>

#include "cpu/isa/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define TG_DECLARE(isa)                                \
  namespace isa {                                      \
  extern const ElementwiseKernels elementwise_kernels; \
  extern const GemmKernels gemm_kernels;               \
  extern const RowKernels row_kernels;                 \
  extern const NormKernels norm_kernels;               \
  extern const SoftmaxKernels softmax_kernels;         \
  extern const RecurrentKernels recurrent_kernels;     \
  extern const OptimKernels optim_kernels;             \
  extern const RandomKernels random_kernels;           \
  extern const WinogradKernels winograd_kernels;       \
  extern const DepthwiseKernels depthwise_kernels;     \
  extern const LadderKernels ladder_kernels;           \
  }
#define TG_TABLE(isa)         \
  {#isa,                      \
   &isa::elementwise_kernels, \
   &isa::gemm_kernels,        \
   &isa::row_kernels,         \
   &isa::norm_kernels,        \
   &isa::softmax_kernels,     \
   &isa::recurrent_kernels,   \
   &isa::optim_kernels,       \
   &isa::random_kernels,      \
   &isa::winograd_kernels,    \
   &isa::depthwise_kernels,   \
   &isa::ladder_kernels}

namespace tg {

#if defined(__aarch64__)
TG_DECLARE(neon)
#else
TG_DECLARE(generic)
#endif
#if defined(__x86_64__)
TG_DECLARE(avx2)
TG_DECLARE(avx512)
namespace avx512_bf16 {
extern const GemmKernels gemm_kernels;
}
#endif

namespace {

struct Candidate {
  Kernels table;
  bool (*supported)();
  const char* needs;
};

bool always() { return true; }

#if defined(__x86_64__)
// CPUID says what the CPU has, XGETBV which registers the operating system saves.
bool os_saves(unsigned mask) {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return false;
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & mask) == mask;
}
bool has_avx2() {
  unsigned a, b, c, d;
  if (!os_saves(0x6)) return false;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_FMA) || !(c & bit_F16C)) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2);
}
bool has_avx512() {
  unsigned a, b, c, d;
  if (!has_avx2() || !os_saves(0xe6)) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  const unsigned needed = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
  return (b & needed) == needed;
}
bool has_avx512_bf16() {
  unsigned a, b, c, d;
  return has_avx512() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & bit_AVX512BF16);
}
// As AVX-512, with products of bfloat16 two terms at a time.
constexpr Kernels with_bf16() {
  Kernels table TG_TABLE(avx512);
  table.name = "avx512_bf16";
  table.gemm = &avx512_bf16::gemm_kernels;
  return table;
}
#endif

// Newest first; the baseline of the platform is always last and always valid.
const Candidate kCandidates[] = {
#if defined(__x86_64__)
    {with_bf16(), has_avx512_bf16, "AVX-512 with BF16, saved by the operating system"},
    {TG_TABLE(avx512), has_avx512, "AVX-512 F, DQ, BW and VL, saved by the operating system"},
    {TG_TABLE(avx2), has_avx2, "AVX2, FMA and F16C, saved by the operating system"},
#endif
#if defined(__aarch64__)
    {TG_TABLE(neon), always, ""},
#else
    {TG_TABLE(generic), always, ""},
#endif
};
constexpr int kCount = sizeof kCandidates / sizeof kCandidates[0];

const Kernels* choose() {
  const char* asked = std::getenv("TILEGRAD_CPU_ISA");
  const Kernels* best = nullptr;
  for (const Candidate& c : kCandidates) {
    if (!c.supported()) continue;
    if (asked != nullptr && std::strcmp(asked, c.table.name) == 0) return &c.table;
    if (best == nullptr) best = &c.table;
  }
  return best;
}

std::atomic<const Kernels*>& current() {
  static std::atomic<const Kernels*> table{choose()};
  return table;
}

}  // namespace

const Kernels& kernels() { return *current().load(std::memory_order_acquire); }

const char* const* available_isas() {
  static const char* names[kCount + 1];
  static const bool filled = [] {
    int n = 0;
    for (const Candidate& c : kCandidates)
      if (c.supported()) names[n++] = c.table.name;
    return true;
  }();
  (void)filled;
  return names;
}

bool set_isa(const char* name) {
  for (const Candidate& c : kCandidates)
    if (std::strcmp(name, c.table.name) == 0 && c.supported()) {
      current().store(&c.table, std::memory_order_release);
      return true;
    }
  return false;
}

const char* why_not_isa(const char* name) {
  for (const Candidate& c : kCandidates)
    if (std::strcmp(name, c.table.name) == 0) return c.needs;
  return nullptr;
}

}  // namespace tg
