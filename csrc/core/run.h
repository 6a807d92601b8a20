// The end of every C++ entry: run(fn, params, buffers). One place that drops the GIL, sets the
// floating-point mode and, while a capture is active, records.
#pragma once
#include <pybind11/pybind11.h>

#include <type_traits>

#include "core/fp_mode.h"
#include "core/plan.h"
#include "core/view.h"

namespace tg {

// Below this many elementary operations releasing the GIL costs more than it gives.
constexpr int64_t kReleaseGil = 20000;

// fn(params, views): params is plain data and the count views are all the memory it touches, so
// that the pair can be kept and run again. work is the rough number of elementary operations.
template <class Params>
void run(void (*fn)(const Params&, const View*), const Params& params, const View* views,
         int64_t count, int64_t work, Arithmetic arithmetic = Arithmetic::floating) {
  static_assert(std::is_trivially_copyable<Params>::value, "params are copied into plans");
  if (recording != nullptr)
    record(call_of<Params>(), reinterpret_cast<void (*)()>(fn), &params, sizeof(Params), views,
           count, work, arithmetic);
  const FlushDenormals flush(arithmetic == Arithmetic::floating);
  if (work < kReleaseGil) return fn(params, views);
  pybind11::gil_scoped_release unlocked;
  fn(params, views);
}

template <class Params, int N>
void run(void (*fn)(const Params&, const View*), const Params& params, const View (&views)[N],
         int64_t work, Arithmetic arithmetic = Arithmetic::floating) {
  run(fn, params, views, N, work, arithmetic);
}

}  // namespace tg
