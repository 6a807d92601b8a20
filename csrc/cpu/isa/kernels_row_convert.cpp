// float16 and bfloat16 to and from float.
#include "cpu/isa/row_load.h"

namespace tg {
namespace TG_ISA {
namespace {

constexpr int kPiece = 512;

template <class T>
void widen_row(char* y, int64_t y_stride, const char* x, int64_t x_stride, int64_t n) {
  float buffer[kPiece];
  for (int64_t i = 0; i < n; i += kPiece) {
    const int m = int(smaller<int64_t>(kPiece, n - i));
    if (y_stride == 4) {
      widen<T>(x + i * x_stride, x_stride, m, reinterpret_cast<float*>(y + i * 4));
      continue;
    }
    widen<T>(x + i * x_stride, x_stride, m, buffer);
    for (int j = 0; j < m; ++j) write(y + (i + j) * y_stride, buffer[j]);
  }
}

template <class T>
void narrow_row(char* y, int64_t y_stride, const char* x, int64_t x_stride, int64_t n) {
  float buffer[kPiece];
  for (int64_t i = 0; i < n; i += kPiece) {
    const int m = int(smaller<int64_t>(kPiece, n - i));
    narrow_to<T>(fetch<float>(x + i * x_stride, x_stride, m, buffer), m, y + i * y_stride,
                 y_stride);
  }
}

}  // namespace

extern const ConvertTable convert_table;
const ConvertTable convert_table{{widen_row<half>, widen_row<bfloat16>},
                                 {narrow_row<half>, narrow_row<bfloat16>}};

}  // namespace TG_ISA
}  // namespace tg
