// An element-wise operation of one operand on results as they are made, while they lie in the
// caches.
#pragma once
#include <type_traits>

#include "cpu/isa/elementwise.h"
#include "cpu/isa/kernels.h"

namespace tg {

// On n elements of T that follow each other; nothing where `then` is nullptr.
template <class T>
void finish(const ElementOp* then, T* data, int64_t n) {
  if (then == nullptr) return;
  char* const p[] = {reinterpret_cast<char*>(data), reinterpret_cast<char*>(data)};
  const int64_t strides[] = {sizeof(T), sizeof(T)};
  kernels().elementwise->row(*then, p, strides, n);
}

// On rows of them.
template <class T>
void finish(const ElementOp* then, T* data, int64_t pitch, int64_t rows, int64_t n) {
  if (then == nullptr) return;
  if (pitch == n) return finish(then, data, rows * n);
  for (int64_t i = 0; i < rows; ++i) finish(then, data + i * pitch, n);
}

}  // namespace tg
