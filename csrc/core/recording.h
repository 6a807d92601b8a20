// What a capture has recorded so far: the calls of kernels, and the memory they touch.
#pragma once
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/array.h"
#include "core/folds.h"
#include "core/plan.h"

namespace tg {

// own: of an entry's output. outer: from before the capture. constant: made by NumPy of numbers.
// foreign: made by NumPy of who knows what. kept: see kept.h.
enum class Kind { own, outer, constant, foreign, kept };

struct Buffer {
  Kind kind;
  char* base;
  int64_t bytes;
  int label;
  bool alive = true;
  py::object owner;           // of what is not our own
  int first = -1, last = -1;  // the calls that touch it
  int64_t at = -1;            // in the plan's memory
  int block = -1;             // or: the place among the blocks of a chain, which alone touches it
  int output = -1;            // or: the place among the outputs' memory
};

struct Step {
  Call call;
  void (*kernel)();
  size_t params, bytes;
  size_t views;
  int count, label;
  int64_t work;
  Arithmetic arithmetic;
  size_t stream;          // 1 + the place of key and offset in the params, or 0
  const char* algorithm;  // nullptr: there is one only
  bool checks;            // raises for some values
};

class Recording {
 public:
  Recording() = default;
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording();

  // strict: what cannot be recorded raises; else recording ends, and error() says why.
  void begin(bool strict);
  const std::string& error() const { return error_; }
  void end();
  void pause(bool on);  // once refused, it does not go on
  int label(const std::string& name, const std::string& line);
  void record_call(Call call, void (*kernel)(), const void* params, size_t bytes, const View* views,
                   int64_t count, int64_t work, Arithmetic arithmetic);
  void next_stream(size_t place);
  void next_checks();
  void next_algorithm(const char* name);
  void written(const char* data);  // by the entry at work
  void allocated(const void* block, size_t bytes, bool ours);
  void freed(const void* block);
  void seen(py::handle array, const char* data);
  void refuse(const std::string& why) const;
  // An entry looks at an element to choose its parameters.
  void read(const char* op, const char* data) const;
  // Lines where NumPy made arrays.
  py::list foreign() const;
  // The buffers of our own that are still there, by index, with what made them.
  py::list alive() const;
  // The buffer that holds an array: an output of a recorded call, or -1.
  int buffer_of(py::handle array) const;
  // Whether everything from outside that is read lies in one of these arrays.
  bool covered(const py::list& arrays) const;
  int64_t size() const;

  // For explain(): name, line, operands, work and seconds (of those given) of every call.
  py::list describe(const std::vector<double>& seconds) const;

 protected:
  using Unit = std::max_align_t;

  const char* name() const;
  void refuse_foreign(const Buffer& b) const;
  int add(Kind kind, const void* block, int64_t bytes, int label);
  size_t add_params(const void* params, size_t bytes);
  int find(const char* address) const;
  py::str where(int b) const;
  void stop_listening();

  // Leaves out calls whose results nobody reads, and folds calls into their neighbours, which none
  // of cuts may lie between. Indices of calls go through moved_ from then on.
  void simplify(const std::vector<int64_t>& cuts);
  Node node(const Step& s);
  // The first and the last call that each buffer is touched by.
  void find_lifetimes();
  // Memory by lifetime: the largest first, each at the lowest place that is free while it lives.
  // Returns how many bytes.
  int64_t arrange();

  std::vector<Unit> params_;
  std::vector<View> views_;
  std::vector<int> buffer_of_view_;
  std::vector<char> written_;  // by view
  std::vector<Step> steps_;
  std::vector<Buffer> buffers_;
  std::vector<std::pair<std::string, std::string>> labels_;  // name, the user's line
  std::map<const char*, int> at_;                            // what lies where now
  py::object handler_;
  mutable std::string error_;
  bool strict_ = true;
  size_t stream_ = 0;
  bool checks_ = false;
  const char* algorithm_ = nullptr;
  int label_ = -1;
  std::vector<int> in_place_;  // buffers that the entry at work may write besides its own
  std::vector<int> moved_;     // what became of the index of a call
  int dropped_ = 0, folded_ = 0;

 private:
  friend class Folding;
  void drop_unread();
  void compact();
};

}  // namespace tg
