// Recording what the entries run, to run it again without Python: tilegrad.capture.
#pragma once
#include <pybind11/pybind11.h>

#include "core/view.h"

namespace tg {

enum class Arithmetic { exact, floating };  // floating: denormals are flushed

using Call = void (*)(void (*kernel)(), const void* params, const View* views);

// What calls a kernel that takes these params.
template <class Params>
Call call_of() {
  return [](void (*kernel)(), const void* params, const View* views) {
    reinterpret_cast<void (*)(const Params&, const View*)>(kernel)(
        *static_cast<const Params*>(params), views);
  };
}

class Recording;

// That of this thread's capture; nullptr while nothing is captured. (__thread: reading it costs
// no call of an initialiser.)
extern __thread Recording* recording;

// Where the numbers of an optimizer's step go instead of being used: a recorded call gets new ones.
extern __thread void* new_numbers;

// What run() was given, while a capture is active.
void record(Call call, void (*kernel)(), const void* params, size_t bytes, const View* views,
            int64_t count, int64_t work, Arithmetic arithmetic);
// The next recorded call has key and offset of a random stream at this place of its params.
void record_stream(size_t place);
// The next recorded call raises for some values: it stays, even where nobody reads its results.
void record_checks();
// The algorithm that the next recorded call was chosen to take.
void record_algorithm(const char* name);
// The entry at work may write this memory.
void record_write(const char* data);

// Memory that NumPy arrays begin and cease to have. ours: of an entry's output, which a recorded
// call fills; else NumPy will fill it, which nobody can repeat.
void record_allocation(const void* block, size_t bytes, bool ours);
void record_free(const void* block);
// An array that an entry looks at: memory from before the capture is kept alive by it.
void record_array(pybind11::handle array, const char* data);
// An entry reads a number out of an array while it checks: no other than a constant may it be.
void record_value(const char* op, const char* data);
// Raises CaptureError while a capture is active: what op does depends on values.
void refuse_capture(const char* op, const char* why);

void bind_plan(pybind11::module_& m);

}  // namespace tg
