// The loop that feeds element-wise kernels, and their table.
#include "cpu/isa/elementwise.h"
#include "cpu/isa/elementwise_lookup.h"
#include "cpu/isa/vec_half.h"

namespace tg {
namespace TG_ISA {
namespace {

// Elements that are gathered, converted or repeated for one call of a kernel: few enough to stay in
// the first-level cache.
constexpr int kBlock = 256;

bool is_half_type(DType t) { return t == DType::f16 || t == DType::bf16; }

int width_of(DType t) {
  switch (t) {
    case DType::b1:
    case DType::u8:
    case DType::i8: return 1;
    case DType::u16:
    case DType::i16:
    case DType::f16:
    case DType::bf16: return 2;
    case DType::u32:
    case DType::i32:
    case DType::f32: return 4;
    default: return 8;
  }
}

template <class T>
void gather_as(char* out, const char* in, int64_t stride, int64_t n) {
  for (int64_t i = 0; i < n; ++i) __builtin_memcpy(out + i * sizeof(T), in + i * stride, sizeof(T));
}
void gather(int width, char* out, const char* in, int64_t stride, int64_t n) {
  switch (width) {
    case 1: return gather_as<uint8_t>(out, in, stride, n);
    case 2: return gather_as<uint16_t>(out, in, stride, n);
    case 4: return gather_as<uint32_t>(out, in, stride, n);
    default: return gather_as<uint64_t>(out, in, stride, n);
  }
}
template <class T>
void scatter_as(char* out, int64_t stride, const char* in, int64_t n) {
  for (int64_t i = 0; i < n; ++i) __builtin_memcpy(out + i * stride, in + i * sizeof(T), sizeof(T));
}
void scatter(int width, char* out, int64_t stride, const char* in, int64_t n) {
  switch (width) {
    case 1: return scatter_as<uint8_t>(out, stride, in, n);
    case 2: return scatter_as<uint16_t>(out, stride, in, n);
    case 4: return scatter_as<uint32_t>(out, stride, in, n);
    default: return scatter_as<uint64_t>(out, stride, in, n);
  }
}

void widen_any(DType t, char* out, const char* in, int64_t n) {
  if (t == DType::f16)
    widen_block((float*)out, (const half*)in, n);
  else
    widen_block((float*)out, (const bfloat16*)in, n);
}
void narrow_any(DType t, char* out, const char* in, int64_t n) {
  if (t == DType::f16)
    narrow_block((half*)out, (const float*)in, n);
  else
    narrow_block((bfloat16*)out, (const float*)in, n);
}

// n elements from p, as the kernel wants them, in memory of the block.
void fetch(DType t, char* block, const char* p, int64_t stride, int64_t n) {
  const int width = width_of(t);
  if (!is_half_type(t)) return gather(width, block, p, stride, n);
  alignas(64) char halves[kBlock * 2];
  if (stride != width) {
    gather(width, halves, p, stride, n);
    p = halves;
  }
  widen_any(t, block, p, n);
}
void deliver(DType t, char* p, int64_t stride, const char* block, int64_t n) {
  const int width = width_of(t);
  if (!is_half_type(t)) return scatter(width, p, stride, block, n);
  alignas(64) char halves[kBlock * 2];
  narrow_any(t, stride == width ? p : halves, block, n);
  if (stride != width) scatter(width, p, stride, halves, n);
}

// A kernel only ever sees contiguous elements, so its results cannot depend on the strides.
void row(const ElementOp& op, char* const* p, const int64_t* strides, int64_t n) {
  bool direct[4], all_direct = true;
  for (int k = 0; k <= op.inputs; ++k) {
    const DType t = op.dtypes[k];
    direct[k] = (strides[k] == width_of(t) || n == 1) && !is_half_type(t);
    all_direct = all_direct && direct[k];
  }
  if (all_direct) return op.kernel(p[0], p + 1, n, op.p0, op.p1);

  alignas(64) char blocks[4][kBlock * 8];
  for (int k = 1; k <= op.inputs; ++k)  // one value for the whole row: repeated once
    if (!direct[k] && strides[k] == 0)
      fetch(op.dtypes[k], blocks[k], p[k], 0, n < kBlock ? n : kBlock);
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t m = n - begin < kBlock ? n - begin : kBlock;
    const char* in[3];
    for (int k = 1; k <= op.inputs; ++k) {
      in[k - 1] = direct[k] ? p[k] + begin * strides[k] : blocks[k];
      if (!direct[k] && strides[k] != 0)
        fetch(op.dtypes[k], blocks[k], p[k] + begin * strides[k], strides[k], m);
    }
    char* const out = p[0] + begin * strides[0];
    op.kernel(direct[0] ? out : blocks[0], in, m, op.p0, op.p1);
    if (!direct[0]) deliver(op.dtypes[0], out, strides[0], blocks[0], m);
  }
}

}  // namespace

extern const ElementwiseKernels elementwise_kernels;
const ElementwiseKernels elementwise_kernels{
    row,           unary_kernel,   unary_bool_kernel, unary_grad_kernel,
    binary_kernel, compare_kernel, where_kernel,      cast_kernel};

}  // namespace TG_ISA
}  // namespace tg
