#include "core/plan.h"

#include <structmember.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/array.h"
#include "core/check.h"
#include "core/fp_mode.h"
#include "core/pool.h"
#include "core/run.h"

namespace tg {

__thread Plan* recording = nullptr;
__thread void* new_numbers = nullptr;

namespace {

constexpr int64_t kAlign = 64;

// own: of an entry's output. outer: from before the capture. constant: made by NumPy of numbers.
// foreign: made by NumPy of who knows what.
enum class Kind { own, outer, constant, foreign };

struct Buffer {
  Kind kind;
  char* base;
  int64_t bytes;
  int label;
  bool alive = true;
  py::object owner;               // of what is not our own
  int first = -1, last = -1;      // the calls that touch it
  int64_t at = -1;                // in the plan's memory
  int output = -1;                // or: the place among the outputs' memory
};

struct Step {
  Call call;
  void (*kernel)();
  size_t params, bytes;
  size_t views;
  int count, label;
  int64_t work;
  Arithmetic arithmetic;
  size_t stream;  // 1 + the place of key and offset in the params, or 0
};

struct Patch {
  size_t view;
  int64_t offset;
};

// An array that is looked up anew at every run: of an argument, a tensor, or a tensor's gradient.
struct Source {
  int argument;         // -1: tensor
  py::weakref tensor;   // none: a constant
  bool gradient, leaf;
  py::object array;
  const char *low, *high;
  bool used, writable;
  View view;
  std::vector<Patch> patches;
};

// The plan that hears of freed memory: from begin() to finish().
__thread Plan* listening = nullptr;

// Tensor, and where its slots lie: a replay makes tensors without calling Python.
PyTypeObject* g_tensor;
Py_ssize_t g_array, g_node, g_grad, g_share, g_version;

PyObject*& slot(PyObject* tensor, Py_ssize_t offset) {
  return *reinterpret_cast<PyObject**>(reinterpret_cast<char*>(tensor) + offset);
}

Py_ssize_t offset_of(py::handle type, const char* name) {
  const py::object member = type.attr(name);
  check(Py_TYPE(member.ptr()) == &PyMemberDescr_Type, ErrorKind::value, "tensor_type: ", name,
        " is no slot");
  return reinterpret_cast<PyMemberDescrObject*>(member.ptr())->d_member->offset;
}

void tensor_type(py::handle type) {
  g_array = offset_of(type, "_array");
  g_node = offset_of(type, "_node");
  g_grad = offset_of(type, "_grad");
  g_share = offset_of(type, "_share");
  g_version = offset_of(type, "_version");
  g_tensor = reinterpret_cast<PyTypeObject*>(type.inc_ref().ptr());
}

bool is_tensor(PyObject* x) { return PyObject_TypeCheck(x, g_tensor); }

py::object new_tensor(py::handle array) {
  PyObject* t = g_tensor->tp_alloc(g_tensor, 0);
  if (t == nullptr) throw py::error_already_set();
  for (const Py_ssize_t at : {g_node, g_grad, g_share, g_version}) {
    Py_INCREF(Py_None);
    slot(t, at) = Py_None;
  }
  slot(t, g_array) = array.inc_ref().ptr();
  return py::reinterpret_steal<py::object>(t);
}

void replace(PyObject*& place, py::handle value) {
  PyObject* before = place;
  place = value.inc_ref().ptr();
  Py_XDECREF(before);
}

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

// What a weak reference refers to, or nullptr; the reference is borrowed from whoever keeps it.
PyObject* referent(const py::weakref& r) {
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* found;
  if (PyWeakref_GetRef(r.ptr(), &found) <= 0) return nullptr;
  Py_DECREF(found);
  return found;
#else
  PyObject* found = PyWeakref_GetObject(r.ptr());
  return found == Py_None ? nullptr : found;
#endif
}

// A leaf: an argument, or a tensor from outside. nullptr where it is no tensor, or gone.
struct Leaf {
  int argument;
  py::weakref tensor;
  PyObject* of(const py::tuple& arguments) const {
    if (argument < 0) return referent(tensor);
    PyObject* x = PyTuple_GET_ITEM(arguments.ptr(), argument);
    return is_tensor(x) ? x : nullptr;
  }
};

// What .grad of a leaf is at the end: an output, or a tensor from outside or None.
struct Gradient {
  Leaf leaf;
  int output;
  py::object other;
};

struct Guard {
  PyObject *cell_or_dict, *key, *value;  // owned; key nullptr: a closure's cell
};

}  // namespace

class Plan {
 public:
  Plan() = default;
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  ~Plan() {
    if (recording == this) recording = nullptr;
    if (listening == this) listening = nullptr;
    pool_free(memory_);
    for (Guard& g : guards_) {
      Py_XDECREF(g.cell_or_dict);
      Py_XDECREF(g.key);
      Py_XDECREF(g.value);
    }
  }

  // --- recording --------------------------------------------------------------------------------
  void begin() {
    handler_ = handle_numpy();
    recording = listening = this;
  }
  void end() {
    recording = nullptr;
    if (handler_) restore_numpy(std::move(handler_));
    handler_ = py::object();
  }
  bool pause(bool on) {  // whether it was recording
    const bool before = recording == this;
    recording = on ? nullptr : this;
    return before;
  }
  int label(const std::string& name, const std::string& line) {
    labels_.push_back({name, line});
    return label_ = int(labels_.size()) - 1;
  }

  void record_call(Call call, void (*kernel)(), const void* params, size_t bytes,
                   const View* views, int64_t count, int64_t work, Arithmetic arithmetic) {
    const int index = int(steps_.size());
    Step s{call, kernel, params_.size(), bytes, views_.size(), int(count), label_, work,
           arithmetic, stream_};
    stream_ = 0;
    params_.resize(params_.size() + (bytes + sizeof(Unit) - 1) / sizeof(Unit));
    std::memcpy(params_.data() + s.params, params, bytes);
    for (int64_t i = 0; i < count; ++i) {
      views_.push_back(views[i]);
      int b = -1;
      if (views[i].data != nullptr && views[i].size() > 0) {
        b = find(views[i].data);
        if (b < 0) fail(ErrorKind::capture, "capture: ", name(), " works on memory nobody knows");
        if (buffers_[b].kind == Kind::foreign) refuse_foreign(buffers_[b]);
        if (buffers_[b].first < 0) buffers_[b].first = index;
        buffers_[b].last = index;
      }
      buffer_of_view_.push_back(b);
    }
    steps_.push_back(s);
  }
  void next_stream(size_t place) { stream_ = place + 1; }

  void allocated(const void* block, size_t bytes, bool ours) {
    int at = label_;
    Kind kind = Kind::own;
    if (!ours) {
      const auto line = py::module_::import("tilegrad.recording").attr("origin")();
      kind = line.is_none() ? Kind::constant : Kind::foreign;
      if (kind == Kind::foreign) {
        const int before = label_;
        at = label("numpy", line.cast<std::string>());
        label_ = before;
      }
    }
    add(kind, block, int64_t(bytes), at);
  }
  void freed(const void* block) {
    const auto it = at_.find(static_cast<const char*>(block));
    if (it == at_.end()) return;
    buffers_[it->second].alive = false;
    at_.erase(it);
  }
  void seen(py::handle array, const char* data) {
    const int b = find(data);
    if (b >= 0 && (buffers_[b].kind == Kind::own || buffers_[b].owner)) return;
    const py::handle owner = owner_of(array);
    if (b >= 0) {
      if (buffers_[b].kind == Kind::constant)
        buffers_[b].owner = py::reinterpret_borrow<py::object>(owner);
      return;
    }
    recording = nullptr;  // view_of would come here again
    const View v = view_of(owner, "capture", "array");
    recording = this;
    if (v.size() == 0) return;
    const char *low, *high;
    memory_range(v, &low, &high);
    if (data < low || data >= high) return;  // an empty view
    const int fresh = add(Kind::outer, low, high - low, label_);
    buffers_[fresh].owner = py::reinterpret_borrow<py::object>(owner);
  }

  // An entry looks at an element to choose its parameters.
  void read(const char* op, const char* data) const {
    const int b = find(data);
    if (b >= 0 && (buffers_[size_t(b)].kind == Kind::own || buffers_[size_t(b)].kind == Kind::foreign))
      fail(ErrorKind::capture, "capture: ", op, " takes a number that was computed as a parameter");
  }

  // --- what was recorded --------------------------------------------------------------------------
  // Lines where NumPy made arrays.
  py::list foreign() const {
    py::list lines;
    for (const Buffer& b : buffers_)
      if (b.kind == Kind::foreign) lines.append(labels_[b.label].second);
    return lines;
  }
  // The buffers of our own that are still there, by index, with what made them.
  py::list alive() const {
    py::list found;
    for (size_t i = 0; i < buffers_.size(); ++i)
      if (buffers_[i].kind == Kind::own && buffers_[i].alive)
        found.append(py::make_tuple(i, labels_[buffers_[i].label].first,
                                    labels_[buffers_[i].label].second));
    return found;
  }
  // The buffer that holds an array: an output of a recorded call, or -1.
  int buffer_of(py::handle array) const {
    const View v = view_of(array, "capture", "array");
    const int b = find(v.data);
    return b >= 0 && buffers_[b].kind == Kind::own ? b : -1;
  }
  int64_t size() const { return int64_t(steps_.size()); }

  // Whether everything from outside that is read lies in one of these arrays.
  bool covered(const py::list& arrays) const {
    std::vector<std::pair<const char*, const char*>> ranges;
    for (py::handle a : arrays) {
      const View v = view_of(a, "capture", "array");
      const char *low, *high;
      memory_range(v, &low, &high);
      ranges.push_back({low, high});
    }
    for (size_t i = 0; i < views_.size(); ++i) {
      const int b = buffer_of_view_[i];
      if (b < 0 || buffers_[size_t(b)].kind != Kind::outer) continue;
      const char *low, *high;
      memory_range(views_[i], &low, &high);
      const auto holds = [&](const auto& r) { return r.first <= low && high <= r.second; };
      if (std::none_of(ranges.begin(), ranges.end(), holds)) return false;
    }
    return true;
  }

  // --- making it ready ------------------------------------------------------------------------
  // sources: (array, argument or -1, tensor or None, whether it is its gradient, whether the tensor
  // is a leaf that requires grad) in the order of precedence. outputs: arrays made by recorded
  // calls. streams: key, offset and blocks used of every generator. guards: a cell or a dict, the
  // key, what is there. Returns which of the sources are looked up.
  py::list finish(const py::list& sources, const py::list& outputs, const py::list& streams,
                  const py::list& guards) {
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
    for (size_t i = 0; i < views_.size(); ++i)
      if (buffer_of_view_[i] >= 0) resolve(i);
    for (size_t i = 0; i < steps_.size(); ++i)
      if (steps_[i].stream > 0) add_stream(int(i), streams);
    for (py::handle item : guards) {
      const auto t = py::reinterpret_borrow<py::tuple>(item);
      const py::object where = t[0], key = t[1], value = t[2];
      guards_.push_back({where.inc_ref().ptr(), key.is_none() ? nullptr : key.inc_ref().ptr(),
                         value.inc_ref().ptr()});
    }
    listening = nullptr;
    py::list used;
    for (size_t i = 0; i < sources_.size(); ++i)
      if (sources_[i].used) used.append(i);
    const auto idle = [](const Source& s) { return !s.used; };
    sources_.erase(std::remove_if(sources_.begin(), sources_.end(), idle), sources_.end());
    place();
    for (const Step& s : steps_) work_ += s.work;
    for (Buffer& b : buffers_)
      if (b.kind != Kind::constant) b.owner = py::object();
    at_.clear();
    return used;
  }

  // --- running ------------------------------------------------------------------------------------
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
      PyObject* now = g.key == nullptr ? PyCell_GET(g.cell_or_dict)
                                       : PyDict_GetItemWithError(g.cell_or_dict, g.key);
      if (now == g.value) continue;
      if (now == nullptr || !alike(now, g.value)) return false;
    }
    for (Source& s : sources_) {
      if (s.argument < 0 && !s.tensor) continue;
      PyObject* tensor = s.argument >= 0 ? PyTuple_GET_ITEM(arguments.ptr(), s.argument)
                                         : referent(s.tensor);
      if (tensor == nullptr || !is_tensor(tensor)) return false;
      if (s.gradient) {
        tensor = slot(tensor, g_grad);
        if (!is_tensor(tensor)) return false;
      } else if ((slot(tensor, g_node) == Py_None) == s.leaf) {
        return false;
      }
      const auto array = py::reinterpret_borrow<py::object>(slot(tensor, g_array));
      if (array.is(s.array)) continue;
      char* const base = bytes_if_alike(array, s.view, s.writable);
      if (base == nullptr) return false;
      s.array = array;
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
    new_numbers = bytes(steps_[size_t(step)]);
    PyObject* result = PyObject_Call(kernel.ptr(), arguments.ptr(), nullptr);
    new_numbers = nullptr;
    if (result == nullptr) throw py::error_already_set();
    Py_DECREF(result);
  }
  void run(int64_t from, int64_t to) {
    if (to < 0) to = size();
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
      gradients_.push_back({leaf(t[0], t[1]), t[2].cast<int>(), t[3]});
    }
    for (py::handle h : changed) {
      const auto t = py::reinterpret_borrow<py::tuple>(h);
      changed_.push_back(leaf(t[0], t[1]));
    }
  }
  // Runs all of it with fresh outputs, returned as tensors; sets gradients, counts changes.
  py::list replay(const py::tuple& arguments) {
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

  // For explain(): name, line, shapes and buffers of every call, and seconds where time() was on.
  py::list describe() {
    py::list rows;
    for (size_t i = 0; i < steps_.size(); ++i) {
      const Step& s = steps_[i];
      py::list operands;
      for (int k = 0; k < s.count; ++k) {
        const size_t at = s.views + size_t(k);
        const View& v = views_[at];
        if (v.data == nullptr) continue;
        py::tuple shape(v.ndim);
        for (int d = 0; d < v.ndim; ++d) shape[d] = v.shape[d];
        const int b = buffer_of_view_[at];
        operands.append(py::make_tuple(dtype_name(v.dtype), shape, where(b)));
      }
      rows.append(py::make_tuple(labels_[size_t(s.label)].first, labels_[size_t(s.label)].second,
                                 operands, s.work, seconds_.size() > i ? seconds_[i] : 0.0));
    }
    return rows;
  }
  void time(bool on) {
    timing_ = on;
    if (on) seconds_.assign(steps_.size(), 0.0);
  }

 private:
  using Unit = std::max_align_t;

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
    if (equal < 0) throw py::error_already_set();
    return equal == 1;
  }

  char* bytes(const Step& s) { return reinterpret_cast<char*>(params_.data() + s.params); }
  const char* name() const { return label_ < 0 ? "a kernel" : labels_[size_t(label_)].first.c_str(); }

  [[noreturn]] void refuse_foreign(const Buffer& b) const {
    fail(ErrorKind::capture, "capture: ", name(), " reads an array that NumPy made at ",
         labels_[size_t(b.label)].second,
         ": it would not be made again; use operations of tilegrad, or pass it as an argument");
  }

  int add(Kind kind, const void* block, int64_t bytes, int label) {
    const char* base = static_cast<const char*>(block);
    const auto old = at_.find(base);
    if (old != at_.end()) buffers_[size_t(old->second)].alive = false;
    Buffer b;
    b.kind = kind;
    b.base = const_cast<char*>(base);
    b.bytes = bytes;
    b.label = label;
    buffers_.push_back(std::move(b));
    return at_[base] = int(buffers_.size()) - 1;
  }
  int find(const char* address) const {
    auto it = at_.upper_bound(address);
    if (it == at_.begin()) return -1;
    const Buffer& b = buffers_[size_t((--it)->second)];
    return address < b.base + std::max<int64_t>(b.bytes, 1) ? it->second : -1;
  }

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
    best->patches.push_back({i, views_[i].data - best->view.data});
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

  // Memory by lifetime: the largest first, each at the lowest place that is free while it lives.
  void place() {
    std::vector<int> order;
    for (size_t i = 0; i < buffers_.size(); ++i) {
      const Buffer& b = buffers_[i];
      if (b.kind == Kind::own && b.output < 0 && b.first >= 0) order.push_back(int(i));
    }
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      return buffers_[size_t(a)].bytes > buffers_[size_t(b)].bytes;
    });
    std::vector<int> placed;
    for (int i : order) {
      Buffer& b = buffers_[size_t(i)];
      std::vector<std::pair<int64_t, int64_t>> taken;
      for (int j : placed) {
        const Buffer& o = buffers_[size_t(j)];
        if (o.first <= b.last && b.first <= o.last) taken.push_back({o.at, o.at + rounded(o)});
      }
      std::sort(taken.begin(), taken.end());
      int64_t at = 0;
      for (const auto& t : taken) {
        if (at + rounded(b) <= t.first) break;
        at = std::max(at, t.second);
      }
      b.at = at;
      bytes_ = std::max(bytes_, at + rounded(b));
      placed.push_back(i);
    }
    memory_ = static_cast<char*>(pool_allocate(size_t(bytes_)));
    if (memory_ == nullptr)
      fail(ErrorKind::memory, "capture: the plan needs ", bytes_, " bytes");
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
  static int64_t rounded(const Buffer& b) { return (b.bytes + kAlign - 1) / kAlign * kAlign; }

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
    try {
      for (; i < to; ++i) {
        const Step& s = steps_[size_t(i)];
        if (s.arithmetic != mode) {
          mode = s.arithmetic;
          (mode == Arithmetic::floating ? flushing : plain).apply();
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

  py::str where(int b) const {
    if (b < 0) return "outside";
    const Buffer& x = buffers_[size_t(b)];
    if (x.kind == Kind::outer) return "outside";
    if (x.kind == Kind::constant) return "constant";
    if (x.output >= 0) return "output";
    return std::to_string(x.at) + "+" + std::to_string(x.bytes);
  }

  std::vector<Unit> params_;
  std::vector<View> views_;
  std::vector<int> buffer_of_view_;
  std::vector<Step> steps_;
  std::vector<Buffer> buffers_;
  std::vector<std::pair<std::string, std::string>> labels_;
  std::map<const char*, int> at_;  // what lies where now
  std::vector<Source> sources_;
  std::vector<Stream> streams_;
  std::vector<Result> results_;
  std::vector<Guard> guards_;
  std::vector<std::pair<int, py::object>> plain_;
  std::vector<std::pair<int, int>> same_;
  std::vector<std::pair<Leaf, bool>> starts_;
  std::vector<Gradient> gradients_;
  std::vector<Leaf> changed_;
  int arguments_ = 0;
  std::vector<std::pair<int, Patch>> output_views_;
  std::vector<double> seconds_;
  py::object handler_;
  char* memory_ = nullptr;
  int64_t bytes_ = 0, work_ = 0, failed_ = -1;
  size_t stream_ = 0;
  int label_ = -1;
  bool timing_ = false;
};

void record(Call call, void (*kernel)(), const void* params, size_t bytes, const View* views,
            int64_t count, int64_t work, Arithmetic arithmetic) {
  recording->record_call(call, kernel, params, bytes, views, count, work, arithmetic);
}
void record_stream(size_t place) {
  if (recording != nullptr) recording->next_stream(place);
}
void record_allocation(const void* block, size_t bytes, bool ours) {
  if (recording != nullptr && block != nullptr) recording->allocated(block, bytes, ours);
}
void record_free(const void* block) {
  if (listening != nullptr) listening->freed(block);
}
void record_array(py::handle array, const char* data) { recording->seen(array, data); }
void record_value(const char* op, const char* data) {
  if (recording != nullptr) recording->read(op, data);
}
void refuse_capture(const char* op, const char* why) {
  if (recording != nullptr) fail(ErrorKind::capture, "capture: ", op, ": ", why);
}

void bind_plan(py::module_& m) {
  m.def("tensor_type", &tensor_type);
  py::class_<Plan>(m, "Plan")
      .def(py::init<>())
      .def("begin", &Plan::begin)
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
      .def("time", &Plan::time)
      .def("describe", &Plan::describe);
}

}  // namespace tg
