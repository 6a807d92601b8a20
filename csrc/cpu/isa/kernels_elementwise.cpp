// The loop that feeds element-wise kernels, and their table.
#include "cpu/isa/elementwise.h"
#include "cpu/isa/elementwise_lookup.h"
#include "cpu/isa/stream.h"
#include "cpu/isa/vec_half.h"

namespace tg {
namespace TG_ISA {
namespace {

// Elements that are gathered, converted or repeated for one call of a kernel: few enough to stay in
// the first-level cache.
constexpr int kBlock = 512;

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
  if (stride == 0) {
    const T x = *reinterpret_cast<const T*>(in);
    for (int64_t i = 0; i < n; ++i) reinterpret_cast<T*>(out)[i] = x;
    return;
  }
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

// n elements from p, as the kernel wants them (as they are, if there is none), in memory of the
// block.
void fetch(DType t, bool as_they_are, char* block, const char* p, int64_t stride, int64_t n) {
  const int width = width_of(t);
  if (as_they_are || !is_half_type(t)) return gather(width, block, p, stride, n);
  alignas(64) char halves[kBlock * 2];
  if (stride != width) {
    gather(width, halves, p, stride, n);
    p = halves;
  }
  widen_any(t, block, p, n);
}
void deliver(DType t, bool as_they_are, char* p, int64_t stride, const char* block, int64_t n) {
  const int width = width_of(t);
  if (as_they_are || !is_half_type(t)) return scatter(width, p, stride, block, n);
  alignas(64) char halves[kBlock * 2];
  narrow_any(t, stride == width ? p : halves, block, n);
  if (stride != width) scatter(width, p, stride, halves, n);
}

// A kernel only ever sees contiguous elements, so its results cannot depend on the strides.
void row(const ElementOp& op, char* const* p, const int64_t* strides, int64_t n) {
  bool direct[4], all_direct = true;
  for (int k = 0; k <= op.inputs; ++k) {
    const DType t = op.dtypes[k];
    direct[k] = (strides[k] == width_of(t) || n == 1) && (!is_half_type(t) || !op.kernel);
    all_direct = all_direct && direct[k];
  }
  const int width = width_of(op.dtypes[0]);
  const bool stream_out = op.stream && n * width >= 128 && strides[0] == width;
  if (all_direct && !op.kernel) {
    if (stream_out) return stream(p[0], p[1], n * width);
    __builtin_memcpy(p[0], p[1], n * width);
    return;
  }
  if (all_direct && !stream_out) return op.kernel(p[0], p + 1, n, op.p0, op.p1);

  alignas(64) char blocks[4][kBlock * 8], narrow[kBlock * 2];
  for (int k = 1; k <= op.inputs; ++k)  // one value for the whole row: repeated once
    if (!direct[k] && strides[k] == 0)
      fetch(op.dtypes[k], !op.kernel, blocks[k], p[k], 0, n < kBlock ? n : kBlock);
  int64_t most = kBlock;
  if (stream_out) most -= (uintptr_t(p[0]) & 63) / width;  // from then on, whole lines
  for (int64_t begin = 0, m; begin < n; begin += m, most = kBlock) {
    m = n - begin < most ? n - begin : most;
    const char* in[3];
    for (int k = 1; k <= op.inputs; ++k) {
      in[k - 1] = direct[k] ? p[k] + begin * strides[k] : blocks[k];
      if (!direct[k] && strides[k] != 0)
        fetch(op.dtypes[k], !op.kernel, blocks[k], p[k] + begin * strides[k], strides[k], m);
    }
    char* const out = p[0] + begin * strides[0];
    const char* const ahead = direct[1] && strides[1] != 0 ? in[0] + m * strides[1] : nullptr;
    const bool here = direct[0] && !stream_out;
    if (op.kernel)
      op.kernel(here ? out : blocks[0], in, m, op.p0, op.p1);
    else
      __builtin_memcpy(here ? out : blocks[0], in[0], m * width);
    if (here) continue;
    if (!stream_out) {
      deliver(op.dtypes[0], !op.kernel, out, strides[0], blocks[0], m);
    } else if (direct[0]) {
      stream_ahead(out, blocks[0], m * width, ahead);
    } else {
      narrow_any(op.dtypes[0], narrow, blocks[0], m);
      stream(out, narrow, m * width);
    }
  }
}

constexpr int64_t kAhead = 8;  // rows fetched before they are read: too short for the hardware

// out[j][i] = in[i][j] for j < rows, i < n; rows of in lie step bytes apart. Four rows are read
// side by side, so that every line is used up before rows that share its place in the cache come.
template <class T>
void transpose_as(char* out_bytes, const char* in, int64_t step, int64_t n, int64_t rows) {
  T* const out = reinterpret_cast<T*>(out_bytes);
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const T* a[4];
    for (int k = 0; k < 4; ++k) {
      a[k] = reinterpret_cast<const T*>(in + (i + k) * step);
      if (i + k + kAhead >= n) continue;
      for (int64_t b = 0; b < rows * int64_t(sizeof(T)); b += 64)
        __builtin_prefetch(in + (i + k + kAhead) * step + b);
    }
    int64_t j = 0;
#if defined(__SSE2__)
    if constexpr (sizeof(T) == 4)
      for (; j + 4 <= rows; j += 4) {
        __m128 w = _mm_loadu_ps((const float*)(a[0] + j)),
               x = _mm_loadu_ps((const float*)(a[1] + j)),
               y = _mm_loadu_ps((const float*)(a[2] + j)),
               z = _mm_loadu_ps((const float*)(a[3] + j));
        _MM_TRANSPOSE4_PS(w, x, y, z);
        float* const to = (float*)(out + j * n + i);
        _mm_storeu_ps(to, w);
        _mm_storeu_ps(to + n, x);
        _mm_storeu_ps(to + 2 * n, y);
        _mm_storeu_ps(to + 3 * n, z);
      }
#endif
    for (; j < rows; ++j)
      for (int k = 0; k < 4; ++k) out[j * n + i + k] = a[k][j];
  }
  for (; i < n; ++i)
    for (int64_t j = 0; j < rows; ++j)
      out[j * n + i] = reinterpret_cast<const T*>(in + i * step)[j];
}
void transpose(int width, char* out, const char* in, int64_t step, int64_t n, int64_t rows) {
  switch (width) {
    case 1: return transpose_as<uint8_t>(out, in, step, n, rows);
    case 2: return transpose_as<uint16_t>(out, in, step, n, rows);
    case 4: return transpose_as<uint32_t>(out, in, step, n, rows);
    default: return transpose_as<uint64_t>(out, in, step, n, rows);
  }
}

void tile(const ElementOp& op, char* const* p, const int64_t* across, const int64_t* down,
          int64_t n, int64_t rows) {
  alignas(64) char turned[3][kTileBytes];
  char* q[4] = {};
  int64_t right[4], below[4];
  bool one = true;  // all rows follow each other
  for (int k = 0; k <= op.inputs; ++k) {
    const int width = width_of(op.dtypes[k]);
    q[k] = p[k];
    right[k] = across[k];
    below[k] = down[k];
    if (k > 0 && across[k] != width && across[k] != 0 && down[k] == width) {
      q[k] = turned[k - 1];
      transpose(width, q[k], p[k], across[k], n, rows);
      right[k] = width;
      below[k] = n * width;
    }
    one = one && below[k] == n * right[k];
  }
  if (one) return row(op, q, right, n * rows);
  for (int64_t j = 0; j < rows; ++j) {
    row(op, q, right, n);
    for (int k = 0; k <= op.inputs; ++k) q[k] += below[k];
  }
}

}  // namespace

extern const ElementwiseKernels elementwise_kernels;
const ElementwiseKernels elementwise_kernels{
    row,           tile,           stream,       unary_kernel, unary_bool_kernel, unary_grad_kernel,
    binary_kernel, compare_kernel, where_kernel, cast_kernel};

}  // namespace TG_ISA
}  // namespace tg
