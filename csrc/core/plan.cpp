#include "core/plan.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "core/chains.h"
#include "core/check.h"
#include "core/fp_mode.h"
#include "core/kept.h"
#include "core/pool.h"
#include "core/run.h"
#include "core/tensor_slots.h"

namespace tg {
namespace {

struct Patch {
  size_t view;
  int64_t offset;
};

// An array that is looked up anew at every run: of an argument, a tensor, or a tensor's gradient.
struct Source {
  int argument;        // -1: tensor
  py::weakref tensor;  // none: a constant
  bool gradient, leaf;
  py::object array;
  const char *low, *high;
  bool used, writable, watched = false;
  View view;
  std::vector<Patch> patches;
  Version version;  // of what is watched
};

struct Stream {
  int step, generator;
  uint64_t from;  // blocks after the generator's state at the start
};

struct Result {
  int buffer;
  int64_t offset;
  View view;
  bool whole;  // the only array on its buffer: it owns the memory
};

// What .grad of a leaf is at the end: an output, or a tensor from outside or None.
struct Gradient {
  Leaf leaf;
  int output;
  py::object other;
  bool read;  // what it was at the start
};

struct Guard {
  py::object cell_or_dict, key, value;  // no key: a closure's cell; no value: weak
  py::weakref weak;
  PyObject* expected() const { return value ? value.ptr() : referent(weak); }
};

}  // namespace

class Plan : public Keeping {
 public:
  ~Plan() { pool_free(memory_); }

  // sources: (array, argument or -1, tensor or None, whether it is its gradient, whether the tensor
  // is a leaf that requires grad) in the order of precedence. outputs: arrays that calls made.
  // streams: key, offset and blocks used of every generator. guards: a cell or a dict, the key, its
  // value. cuts: where Python is called. inference: see kept.h. Returns the sources to look up.
  py::list finish(const py::list& sources, const py::list& outputs, const py::list& streams,
                  const py::list& guards, std::vector<int64_t> cuts, bool inference) {
    for (py::handle item : sources) {
      const auto t = py::reinterpret_borrow<py::tuple>(item);
      Source s;
      s.array = t[0];
      s.argument = t[1].cast<int>();
      if (!py::object(t[2]).is_none()) s.tensor = py::weakref(py::object(t[2]));
      s.gradient = t[3].cast<bool>();
      s.leaf = t[4].cast<bool>();
      s.view = view_of(s.array, "capture", "array");
      s.writable = py::bool_(s.array.attr("flags").attr("writeable"));
      memory_range(s.view, &s.low, &s.high);
      s.used = s.argument >= 0;
      sources_.push_back(std::move(s));
    }
    for (py::handle array : outputs) add_result(array);
    simplify(cuts);
    for (int64_t& c : cuts) c = moved_[size_t(c)];
    source_of_view_.assign(views_.size(), -1);
    for (size_t i = 0; i < views_.size(); ++i)
      if (buffer_of_view_[i] >= 0) resolve(i);
    if (inference && cuts.empty()) rewrite();
    for (size_t i = 0; i < steps_.size(); ++i)
      if (steps_[i].stream > 0) add_stream(int(i), streams);
    for (py::handle item : guards) {
      const auto t = py::reinterpret_borrow<py::tuple>(item);
      Guard g{t[0], t[1].is_none() ? py::object() : py::object(t[1]), {}, {}};
      const py::object value = t[2];
      // A plan keeps no module or tensor alive; numbers and the like have no weak references.
      if (PyType_SUPPORTS_WEAKREFS(Py_TYPE(value.ptr())))
        g.weak = py::weakref(value);
      else
        g.value = value;
      guards_.push_back(std::move(g));
    }
    stop_listening();
    py::list used;
    for (size_t i = 0; i < sources_.size(); ++i)
      if (sources_[i].used) used.append(i);
    const auto idle = [](const Source& s) { return !s.used; };
    sources_.erase(std::remove_if(sources_.begin(), sources_.end(), idle), sources_.end());
    chains_ = find_chains(steps_, views_, buffer_of_view_, cuts, &buffers_);
    place();
    for (const Step& s : steps_) work_ += s.work;
    for (Buffer& b : buffers_)
      if (b.kind != Kind::constant) b.owner = py::object();
    at_.clear();
    return used;
  }

  // Looks the sources up. False: something is not as it was when this was recorded.
  bool bind(const py::tuple& arguments) {
    if (PyTuple_GET_SIZE(arguments.ptr()) != arguments_) return false;
    for (const auto& [i, value] : plain_) {
      PyObject* now = PyTuple_GET_ITEM(arguments.ptr(), i);
      if (now != value.ptr() && !alike(now, value.ptr())) return false;
    }
    for (const auto& [i, j] : same_)
      if (PyTuple_GET_ITEM(arguments.ptr(), i) != PyTuple_GET_ITEM(arguments.ptr(), j))
        return false;
    for (const auto& [leaf, none] : starts_) {
      PyObject* tensor = leaf.of(arguments);
      if (tensor == nullptr || (slot(tensor, g_grad) == Py_None) != none) return false;
    }
    for (const Guard& g : guards_) {
      PyObject* now = g.key ? PyDict_GetItemWithError(g.cell_or_dict.ptr(), g.key.ptr())
                            : PyCell_GET(g.cell_or_dict.ptr());
      PyObject* before = g.expected();
      if (now == nullptr || before == nullptr) return false;
      if (now != before && !alike(now, before)) return false;
    }
    for (Source& s : sources_) {
      if (s.argument < 0 && !s.tensor) continue;
      PyObject* tensor =
          s.argument >= 0 ? PyTuple_GET_ITEM(arguments.ptr(), s.argument) : referent(s.tensor);
      if (tensor == nullptr || !is_tensor(tensor)) return false;
      if (s.gradient) {
        tensor = slot(tensor, g_grad);
        if (!is_tensor(tensor)) return false;
      } else if ((slot(tensor, g_node) == Py_None) == s.leaf) {
        return false;
      }
      const auto array = py::reinterpret_borrow<py::object>(slot(tensor, g_array));
      if (s.watched && !s.version.look(tensor, &stale_)) return false;
      if (array.is(s.array)) continue;
      char* const base = bytes_if_alike(array, s.view, s.writable);
      if (base == nullptr) return false;
      s.array = array;
      stale_ = stale_ || s.watched;
      for (const Patch& p : s.patches) views_[p.view].data = base + p.offset;
    }
    return true;
  }
  // Fresh memory for the outputs; their arrays.
  py::list outputs() {
    py::list arrays;
    for (const Result& r : results_) {
      Buffer& b = buffers_[size_t(r.buffer)];
      if (r.whole) {
        Output y = empty_as("capture", r.view, b.bytes);
        move(b, y.view.data);
        arrays.append(std::move(y.array));
        continue;
      }
      if (!b.owner) {
        const int64_t bytes = b.bytes;
        Output y = empty("capture", DType::u8, 1, &bytes);
        move(b, y.view.data);
        b.owner = std::move(y.array);
      }
      View v = r.view;
      v.data = view_of(b.owner, "capture", "output").data + r.offset;
      arrays.append(array_on(v, b.owner));
    }
    for (const Result& r : results_) buffers_[size_t(r.buffer)].owner = py::object();
    return arrays;
  }
  void set_stream(int generator, uint64_t key, uint64_t offset) {
    for (const Stream& s : streams_) {
      if (s.generator != generator) continue;
      const uint64_t pair[2] = {key, offset + s.from};
      const Step& step = steps_[size_t(s.step)];
      std::memcpy(bytes(step) + step.stream - 1, pair, sizeof pair);
    }
  }
  void set_numbers(int step, py::handle kernel, const py::tuple& arguments) {
    new_numbers = bytes(steps_[size_t(moved_[size_t(step)])]);
    PyObject* result = PyObject_Call(kernel.ptr(), arguments.ptr(), nullptr);
    new_numbers = nullptr;
    if (result == nullptr) throw py::error_already_set();
    Py_DECREF(result);
  }
  void run(int64_t from, int64_t to) {
    from = moved_[size_t(from)];
    to = to < 0 ? size() : moved_[size_t(to)];
    if (stale_) make_kept();
    if (work_ < kReleaseGil) return go(from, to);
    py::gil_scoped_release unlocked;
    go(from, to);
  }
  // How the arguments and gradients have to be, and what becomes of gradients and versions.
  void expect(int arguments, const py::list& plain, const py::list& same, const py::list& starts,
              const py::list& gradients, const py::list& changed) {
    arguments_ = arguments;
    for (py::handle h : plain) {
      const auto t = py::reinterpret_borrow<py::tuple>(h);
      plain_.push_back({t[0].cast<int>(), t[1]});
    }
    for (py::handle h : same) same_.push_back(h.cast<std::pair<int, int>>());
    for (py::handle h : starts) {
      const auto t = py::reinterpret_borrow<py::tuple>(h);
      starts_.push_back({leaf(t[0], t[1]), t[2].cast<bool>()});
    }
    for (py::handle h : gradients) {
      const auto t = py::reinterpret_borrow<py::tuple>(h);
      const int argument = t[0].cast<int>();
      const bool read = std::any_of(sources_.begin(), sources_.end(), [&](const Source& s) {
        if (!s.gradient || argument >= 0) return s.gradient && s.argument == argument;
        return referent(s.tensor) == py::object(t[1]).ptr();
      });
      gradients_.push_back({leaf(t[0], t[1]), t[2].cast<int>(), t[3], read});
    }
    for (py::handle h : changed) {
      const auto t = py::reinterpret_borrow<py::tuple>(h);
      changed_.push_back(leaf(t[0], t[1]));
    }
  }
  // Runs all of it with fresh outputs, returned as tensors; sets gradients, counts changes.
  py::list replay(const py::tuple& arguments) {
    for (const Gradient& g : gradients_) {  // what is to be replaced gives its memory back first
      PyObject* leaf = g.read || g.output < 0 ? nullptr : g.leaf.of(arguments);
      if (leaf != nullptr) replace(slot(leaf, g_grad), py::none());
    }
    const py::list arrays = outputs();
    run(0, -1);
    return finished(arguments, arrays);
  }
  py::list finished(const py::tuple& arguments, const py::list& arrays) {
    py::list tensors(arrays.size());
    for (size_t i = 0; i < arrays.size(); ++i) tensors[i] = new_tensor(arrays[i]);
    for (const Gradient& g : gradients_) {
      PyObject* leaf = g.leaf.of(arguments);
      if (leaf == nullptr) continue;
      PyObject*& place = slot(leaf, g_grad);
      replace(place, g.output >= 0 ? py::object(tensors[size_t(g.output)]) : g.other);
    }
    for (const Leaf& leaf : changed_) {
      PyObject* tensor = leaf.of(arguments);
      PyObject* cell = tensor == nullptr ? Py_None : slot(tensor, g_version);
      if (!PyList_Check(cell)) continue;
      const py::list count = py::reinterpret_borrow<py::list>(cell);
      count[0] = py::int_(count[0].cast<int64_t>() + 1);
    }
    return tensors;
  }
  py::object failed() const {
    if (failed_ < 0) return py::none();
    const auto& label = labels_[size_t(steps_[size_t(failed_)].label)];
    return py::make_tuple(label.first, label.second);
  }
  int64_t memory_bytes() const { return bytes_; }

  py::list describe() const { return Recording::describe(seconds_); }
  // How many calls nobody needs, and how many their neighbours do.
  py::tuple left_out() const { return py::make_tuple(dropped_, folded_); }
  void time(bool on) {
    timing_ = on;
    if (on) seconds_.assign(steps_.size(), 0.0);
  }

 private:
  static Leaf leaf(py::handle argument, py::handle tensor) {
    return {argument.cast<int>(), tensor.is_none() ? py::weakref() : py::weakref(tensor)};
  }
  // Numbers and strings, and tuples of them, of one type and value; for anything else: no.
  static bool alike(PyObject* a, PyObject* b) {
    if (Py_TYPE(a) != Py_TYPE(b)) return false;
    if (!PyFloat_Check(a) && !PyLong_Check(a) && !PyUnicode_Check(a) && !PyBytes_Check(a) &&
        !PyComplex_Check(a) && !PyTuple_Check(a))
      return false;
    const int equal = PyObject_RichCompareBool(a, b, Py_EQ);
    if (equal < 0) PyErr_Clear();  // a tuple of tensors
    return equal == 1;
  }

  char* bytes(const Step& s) { return reinterpret_cast<char*>(params_.data() + s.params); }

  void add_result(py::handle array) {
    Result r;
    r.view = view_of(array, "capture", "output");
    r.buffer = find(r.view.data);
    if (r.buffer < 0 || buffers_[size_t(r.buffer)].kind != Kind::own)
      fail(ErrorKind::capture, "capture: an output was not made by the captured function");
    Buffer& b = buffers_[size_t(r.buffer)];
    r.offset = r.view.data - b.base;
    r.whole = b.output < 0 && owner_of(array).is(array) && r.offset == 0;
    if (b.output >= 0) results_[size_t(b.output)].whole = false;
    if (b.output < 0) b.output = int(results_.size());
    results_.push_back(r);
  }

  // Finds what a view on memory from outside belongs to.
  void resolve(size_t i) {
    Buffer& b = buffers_[size_t(buffer_of_view_[i])];
    if (b.kind == Kind::own || b.kind == Kind::constant) return;
    const char *low, *high;
    memory_range(views_[i], &low, &high);
    Source* best = nullptr;
    for (Source& s : sources_)
      if (s.low <= low && high <= s.high &&
          (best == nullptr || s.high - s.low < best->high - best->low))
        best = &s;
    if (best == nullptr) {
      int step = 0;
      while (steps_[size_t(step)].views + size_t(steps_[size_t(step)].count) <= i) ++step;
      const auto& label = labels_[size_t(steps_[size_t(step)].label)];
      fail(ErrorKind::capture, "capture: ", label.first, " at ", label.second,
           " reads an array that belongs to no tensor; pass it as an argument");
    }
    best->used = true;
    source_of_view_[i] = int(best - sources_.data());
    follow(source_of_view_[i], i);
  }
  void follow(int source, size_t view) override {
    Source& s = sources_[size_t(source)];
    s.patches.push_back({view, views_[view].data - s.view.data});
  }
  bool watch(int source) override {
    Source& s = sources_[size_t(source)];
    if (s.argument >= 0 || !s.tensor || s.gradient) return false;
    PyObject* tensor = referent(s.tensor);
    if (!s.watched) s.watched = tensor != nullptr && s.version.look(tensor, &stale_);
    return s.watched;
  }

  void add_stream(int step, const py::list& streams) {
    uint64_t pair[2];
    std::memcpy(pair, bytes(steps_[size_t(step)]) + steps_[size_t(step)].stream - 1, sizeof pair);
    for (size_t g = 0; g < streams.size(); ++g) {
      const auto t = py::reinterpret_borrow<py::tuple>(py::object(streams[g]));
      const uint64_t key = t[0].cast<uint64_t>(), start = t[1].cast<uint64_t>(),
                     used = t[2].cast<uint64_t>();
      if (key == pair[0] && pair[1] - start < used) {
        streams_.push_back({step, int(g), pair[1] - start});
        return;
      }
    }
    fail(ErrorKind::capture, "capture: ", labels_[size_t(steps_[size_t(step)].label)].first,
         " draws from a stream that began outside the captured function");
  }

  void place() {
    bytes_ = arrange();
    memory_ = static_cast<char*>(pool_allocate(size_t(bytes_)));
    if (memory_ == nullptr) fail(ErrorKind::memory, "capture: the plan needs ", bytes_, " bytes");
    for (size_t i = 0; i < views_.size(); ++i) {
      const int b = buffer_of_view_[i];
      if (b < 0 || buffers_[size_t(b)].kind != Kind::own) continue;
      const Buffer& buffer = buffers_[size_t(b)];
      const int64_t offset = views_[i].data - buffer.base;
      if (buffer.output < 0)
        views_[i].data = memory_ + buffer.at + offset;
      else
        output_views_.push_back({b, {i, offset}});
    }
    std::stable_sort(output_views_.begin(), output_views_.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
  }

  void move(const Buffer& b, char* base) {
    const int index = int(&b - buffers_.data());
    auto it = std::lower_bound(output_views_.begin(), output_views_.end(), index,
                               [](const auto& a, int i) { return a.first < i; });
    for (; it != output_views_.end() && it->first == index; ++it)
      views_[it->second.view].data = base + it->second.offset;
  }

  void go(int64_t from, int64_t to) {
    using Clock = std::chrono::steady_clock;
    const FpMode plain = FpMode::current(), flushing = plain.flushing();
    Arithmetic mode = Arithmetic::exact;
    failed_ = -1;
    int64_t i = from;
    size_t chain = 0;
    while (chain < chains_.size() && chains_[chain].first < from) ++chain;
    try {
      for (; i < to; ++i) {
        const Step& s = steps_[size_t(i)];
        if (s.arithmetic != mode) {
          mode = s.arithmetic;
          (mode == Arithmetic::floating ? flushing : plain).apply();
        }
        if (chain < chains_.size() && chains_[chain].first == i) {
          const auto begin = Clock::now();
          if (!run_chain(chains_[chain], steps_, views_, buffer_of_view_, buffers_,
                         reinterpret_cast<const char*>(params_.data()), sizeof(Unit), plain))
            fail(ErrorKind::memory, "capture: no memory for the blocks of a chain");
          if (timing_)
            seconds_[size_t(i)] = std::chrono::duration<double>(Clock::now() - begin).count();
          i = chains_[chain++].last;
          continue;
        }
        if (!timing_) {
          s.call(s.kernel, bytes(s), views_.data() + s.views);
          continue;
        }
        const auto begin = Clock::now();
        s.call(s.kernel, bytes(s), views_.data() + s.views);
        seconds_[size_t(i)] = std::chrono::duration<double>(Clock::now() - begin).count();
      }
    } catch (...) {
      failed_ = i;
      plain.apply();
      throw;
    }
    plain.apply();
  }

  std::vector<Source> sources_;
  std::vector<Stream> streams_;
  std::vector<Result> results_;
  std::vector<Guard> guards_;
  std::vector<Chain> chains_;
  std::vector<std::pair<int, py::object>> plain_;
  std::vector<std::pair<int, int>> same_;
  std::vector<std::pair<Leaf, bool>> starts_;
  std::vector<Gradient> gradients_;
  std::vector<Leaf> changed_;
  int arguments_ = 0;
  std::vector<std::pair<int, Patch>> output_views_;
  std::vector<double> seconds_;
  char* memory_ = nullptr;
  int64_t bytes_ = 0, work_ = 0, failed_ = -1;
  bool timing_ = false;
};

void bind_plan(py::module_& m) {
  m.def("tensor_type", &tensor_type);
  m.def("_view_at", &view_at);
  py::class_<Plan>(m, "Plan")
      .def(py::init<>())
      .def("begin", &Plan::begin)
      .def("error", &Plan::error)
      .def("end", &Plan::end)
      .def("pause", &Plan::pause)
      .def("label", &Plan::label)
      .def("foreign", &Plan::foreign)
      .def("alive", &Plan::alive)
      .def("buffer_of", &Plan::buffer_of)
      .def("__len__", &Plan::size)
      .def("covered", &Plan::covered)
      .def("finish", &Plan::finish)
      .def("bind", &Plan::bind)
      .def("outputs", &Plan::outputs)
      .def("set_stream", &Plan::set_stream)
      .def("set_numbers", &Plan::set_numbers)
      .def("run", &Plan::run)
      .def("expect", &Plan::expect)
      .def("replay", &Plan::replay)
      .def("finished", &Plan::finished)
      .def("failed", &Plan::failed)
      .def("memory_bytes", &Plan::memory_bytes)
      .def("kept_bytes", &Plan::kept_bytes)
      .def("forget", &Plan::forget)
      .def("time", &Plan::time)
      .def("left_out", &Plan::left_out)
      .def("describe", &Plan::describe);
}

}  // namespace tg
