#include "core/recording.h"

#include <algorithm>

#include "core/check.h"

namespace tg {

__thread Recording* recording = nullptr;
__thread void* new_numbers = nullptr;

namespace {

// The recording that hears of freed memory: from begin() until it is made ready.
__thread Recording* listening = nullptr;

}  // namespace

Recording::~Recording() {
  if (recording == this) recording = nullptr;
  stop_listening();
}

void Recording::stop_listening() {
  if (listening == this) listening = nullptr;
}

void Recording::begin(bool strict) {
  strict_ = strict;
  handler_ = handle_numpy();
  recording = listening = this;
}

void Recording::end() {
  recording = nullptr;
  if (handler_) restore_numpy(std::move(handler_));
  handler_ = py::object();
}

void Recording::pause(bool on) { recording = on || !error_.empty() ? nullptr : this; }

int Recording::label(const std::string& name, const std::string& line) {
  labels_.push_back({name, line});
  in_place_.clear();
  return label_ = int(labels_.size()) - 1;
}

void Recording::record_call(Call call, void (*kernel)(), const void* params, size_t bytes,
                            const View* views, int64_t count, int64_t work, Arithmetic arithmetic) {
  Step s{call,    kernel,        add_params(params, bytes),
         bytes,   views_.size(), int(count),
         label_,  work,          arithmetic,
         stream_, algorithm_,    checks_};
  stream_ = 0;
  algorithm_ = nullptr;
  checks_ = false;
  for (int64_t i = 0; i < count; ++i) {
    views_.push_back(views[i]);
    int b = -1;
    if (views[i].data != nullptr && views[i].size() > 0) {
      b = find(views[i].data);
      if (b < 0) return refuse(std::string(name()) + " works on memory nobody knows");
      if (buffers_[b].kind == Kind::foreign) return refuse_foreign(buffers_[b]);
    }
    buffer_of_view_.push_back(b);
    // An entry writes what it allocates, or asked for as writable.
    const bool own = b >= 0 && buffers_[b].kind == Kind::own && buffers_[b].label == label_;
    written_.push_back(own || std::count(in_place_.begin(), in_place_.end(), b) > 0);
  }
  steps_.push_back(s);
}

void Recording::next_stream(size_t place) { stream_ = place + 1; }
void Recording::next_checks() { checks_ = true; }
void Recording::next_algorithm(const char* name) { algorithm_ = name; }

void Recording::written(const char* data) {
  const int b = find(data);
  if (b >= 0) in_place_.push_back(b);
}

void Recording::allocated(const void* block, size_t bytes, bool ours) {
  int at = label_;
  Kind kind = Kind::own;
  if (!ours) {
    const auto line = py::module_::import("tilegrad.recording").attr("origin")();
    kind = line.is_none() ? Kind::constant : Kind::foreign;
    if (kind == Kind::foreign) {
      labels_.push_back({"numpy", line.cast<std::string>()});
      at = int(labels_.size()) - 1;
    }
  }
  add(kind, block, int64_t(bytes), at);
}

void Recording::freed(const void* block) {
  const auto it = at_.find(static_cast<const char*>(block));
  if (it == at_.end()) return;
  buffers_[it->second].alive = false;
  at_.erase(it);
}

void Recording::seen(py::handle array, const char* data) {
  const int b = find(data);
  if (b >= 0 && (buffers_[b].kind == Kind::own || buffers_[b].owner)) return;
  const py::handle owner = owner_of(array);
  if (b >= 0) {
    if (buffers_[b].kind == Kind::constant)
      buffers_[b].owner = py::reinterpret_borrow<py::object>(owner);
    return;
  }
  recording = nullptr;  // view_of would come here again
  View v;
  try {
    v = view_of(owner, "capture", "array");
  } catch (const Error& e) {
    recording = this;
    return refuse(e.what());
  }
  recording = this;
  if (v.size() == 0) return;
  const char *low, *high;
  memory_range(v, &low, &high);
  if (data < low || data >= high) return;  // an empty view
  const int fresh = add(Kind::outer, low, high - low, label_);
  buffers_[fresh].owner = py::reinterpret_borrow<py::object>(owner);
}

void Recording::read(const char* op, const char* data) const {
  const int b = find(data);
  if (b >= 0 &&
      (buffers_[size_t(b)].kind == Kind::own || buffers_[size_t(b)].kind == Kind::foreign))
    refuse(std::string(op) + " takes a number that was computed as a parameter");
}

py::list Recording::foreign() const {
  py::list lines;
  for (const Buffer& b : buffers_)
    if (b.kind == Kind::foreign) lines.append(labels_[b.label].second);
  return lines;
}

py::list Recording::alive() const {
  py::list found;
  for (size_t i = 0; i < buffers_.size(); ++i)
    if (buffers_[i].kind == Kind::own && buffers_[i].alive)
      found.append(
          py::make_tuple(i, labels_[buffers_[i].label].first, labels_[buffers_[i].label].second));
  return found;
}

int Recording::buffer_of(py::handle array) const {
  const View v = view_of(array, "capture", "array");
  const int b = find(v.data);
  return b >= 0 && buffers_[b].kind == Kind::own ? b : -1;
}

bool Recording::covered(const py::list& arrays) const {
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

int64_t Recording::size() const { return int64_t(steps_.size()); }

const char* Recording::name() const {
  return label_ < 0 ? "a kernel" : labels_[size_t(label_)].first.c_str();
}

void Recording::refuse(const std::string& why) const {
  if (strict_) fail(ErrorKind::capture, "capture: ", why);
  if (error_.empty()) error_ = "capture: " + why;
  recording = nullptr;
}

void Recording::refuse_foreign(const Buffer& b) const {
  refuse(std::string(name()) + " reads an array that NumPy made at " +
         labels_[size_t(b.label)].second +
         ": it would not be made again; use operations of tilegrad, or pass it as an argument");
}

int Recording::add(Kind kind, const void* block, int64_t bytes, int label) {
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

size_t Recording::add_params(const void* params, size_t bytes) {
  const size_t at = params_.size();
  params_.resize(at + (bytes + sizeof(Unit) - 1) / sizeof(Unit));
  std::memcpy(params_.data() + at, params, bytes);
  return at;
}

int Recording::find(const char* address) const {
  auto it = at_.upper_bound(address);
  if (it == at_.begin()) return -1;
  const Buffer& b = buffers_[size_t((--it)->second)];
  return address < b.base + std::max<int64_t>(b.bytes, 1) ? it->second : -1;
}

py::list Recording::describe(const std::vector<double>& seconds) const {
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
                               operands, s.work, seconds.size() > i ? seconds[i] : 0.0,
                               s.algorithm == nullptr ? "" : s.algorithm));
  }
  return rows;
}

py::str Recording::where(int b) const {
  if (b < 0) return "outside";
  const Buffer& x = buffers_[size_t(b)];
  if (x.kind == Kind::outer) return "outside";
  if (x.kind == Kind::constant) return "constant";
  if (x.kind == Kind::kept) return "kept";
  if (x.output >= 0) return "output";
  if (x.block >= 0) return "block";
  return std::to_string(x.at) + "+" + std::to_string(x.bytes);
}

void record(Call call, void (*kernel)(), const void* params, size_t bytes, const View* views,
            int64_t count, int64_t work, Arithmetic arithmetic) {
  recording->record_call(call, kernel, params, bytes, views, count, work, arithmetic);
}
void record_stream(size_t place) {
  if (recording != nullptr) recording->next_stream(place);
}
void record_checks() {
  if (recording != nullptr) recording->next_checks();
}
void record_algorithm(const char* name) {
  if (recording != nullptr) recording->next_algorithm(name);
}
void record_write(const char* data) {
  if (recording != nullptr) recording->written(data);
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
  if (recording != nullptr) recording->refuse(std::string(op) + ": " + why);
}

}  // namespace tg
