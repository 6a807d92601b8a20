// What a plan leaves out: calls whose results nobody reads, and those that a neighbour does as it
// goes.
#include <algorithm>

#include "core/chains.h"
#include "core/folds.h"
#include "core/recording.h"

namespace tg {
namespace {

struct Next {
  void (*kernel)();
  int output;
  FoldNext fold;
};
struct Before {
  void (*kernel)();
  int input;
  FoldBefore fold;
};
std::vector<Next>& nexts() {
  static std::vector<Next> all;
  return all;
}
std::vector<Before>& befores() {
  static std::vector<Before> all;
  return all;
}
template <class Row>
const Row* row_of(const std::vector<Row>& rows, const Step& s) {
  for (const Row& r : rows)
    if (s.call != nullptr && r.kernel == s.kernel) return &r;
  return nullptr;
}

// Whether all views of an element-wise call lie as its result does, which has no gaps.
bool lie_alike(const Node& n) {
  if (!without_gaps(n.views[0])) return false;
  for (int k = 1; k < n.count; ++k)
    if (n.views[k].dtype != n.views[0].dtype || !lies_as(n.views[0], n.views[k])) return false;
  return true;
}

}  // namespace

void register_fold_next(void (*kernel)(), int output, FoldNext fold) {
  nexts().push_back({kernel, output, fold});
}
FoldNext fold_next_of(void (*kernel)()) {
  for (const Next& row : nexts())
    if (row.kernel == kernel) return row.fold;
  return nullptr;
}
void register_fold_before(void (*kernel)(), int input, FoldBefore fold) {
  befores().push_back({kernel, input, fold});
}

void Recording::drop_unread() {
  std::vector<char> read(buffers_.size());
  for (size_t b = 0; b < buffers_.size(); ++b)
    read[b] = buffers_[b].kind != Kind::own || buffers_[b].output >= 0;
  for (auto s = steps_.rbegin(); s != steps_.rend(); ++s) {
    bool needed = s->checks, writes = false;
    for (size_t at = s->views; at < s->views + size_t(s->count); ++at) {
      if (!written_[at]) continue;
      writes = true;
      needed = needed || read[size_t(buffer_of_view_[at])];
    }
    if (writes && !needed) {
      s->call = nullptr;
      ++dropped_;
      continue;
    }
    for (size_t at = s->views; at < s->views + size_t(s->count); ++at)
      if (buffer_of_view_[at] >= 0) read[size_t(buffer_of_view_[at])] = true;
  }
}

Node Recording::node(const Step& s) {
  return {s.kernel,
          reinterpret_cast<char*>(params_.data() + s.params),
          s.bytes,
          views_.data() + s.views,
          buffer_of_view_.data() + s.views,
          s.count,
          s.arithmetic};
}

// Folds calls into their neighbours.
class Folding {
 public:
  Folding(Recording* r, const std::vector<int64_t>& cuts)
      : r_(*r), cuts_(cuts), touches_(r->buffers_.size()) {
    for (int i = 0; i < int(r_.steps_.size()); ++i)
      if (r_.steps_[size_t(i)].call != nullptr) touch(node(i), i);
  }
  void run() {
    for (int j = 0; j < int(r_.steps_.size()); ++j) {
      const Step& s = r_.steps_[size_t(j)];
      if (s.call == nullptr) continue;
      if (is_elementwise(s.kernel) && lie_alike(node(j))) {
        for (int k = 1; k < s.count; ++k)
          if (next(j, k)) break;
      } else if (const Before* row = row_of(befores(), s)) {
        before(j, *row);
      }
    }
  }

 private:
  Node node(int i) { return r_.node(r_.steps_[size_t(i)]); }
  std::vector<int>& touches(int buffer) { return touches_[size_t(buffer)]; }
  void touch(const Node& n, int i) {
    for (int k = 0; k < n.count; ++k) {
      if (n.buffers[k] < 0) continue;
      std::vector<int>& t = touches(n.buffers[k]);
      const auto at = std::lower_bound(t.begin(), t.end(), i);
      if (at == t.end() || *at != i) t.insert(at, i);
    }
  }
  void leave(const Node& n, int i) {
    for (int k = 0; k < n.count; ++k) {
      if (n.buffers[k] < 0) continue;
      std::vector<int>& t = touches(n.buffers[k]);
      t.erase(std::remove(t.begin(), t.end(), i), t.end());
    }
  }

  // Whether view v is all of a fresh buffer that call i makes.
  bool makes(int i, const View& v, int buffer) {
    const Buffer& b = r_.buffers_[size_t(buffer)];
    return b.kind == Kind::own && touches(buffer).front() == i && v.data == b.base &&
           without_gaps(v) && v.size() * itemsize(v.dtype) == b.bytes;
  }
  // Whether nobody else sees what call i writes besides its output.
  bool writes_no_more(int i, int output) {
    const Step& s = r_.steps_[size_t(i)];
    for (int k = 0; k < s.count; ++k) {
      const int b = r_.buffer_of_view_[s.views + size_t(k)];
      if (k != output && b >= 0 && r_.written_[s.views + size_t(k)] && touches(b).back() != i)
        return false;
    }
    return true;
  }
  // Whether two views may share memory; arrays from outside may overlap under several names.
  bool meet(size_t a, size_t b) const {
    const int x = r_.buffer_of_view_[a], y = r_.buffer_of_view_[b];
    if (x < 0 || y < 0 || x == y) return x == y;
    return r_.buffers_[size_t(x)].kind != Kind::own && r_.buffers_[size_t(y)].kind != Kind::own &&
           may_overlap(r_.views_[a], r_.views_[b]);
  }
  // Whether what call i reads is the same at j.
  bool unchanged(int i, int j) const {
    for (const int64_t c : cuts_)
      if (i < c && c <= j) return false;
    const Step& s = r_.steps_[size_t(i)];
    for (int m = i + 1; m < j; ++m) {
      const Step& t = r_.steps_[size_t(m)];
      if (t.call == nullptr) continue;
      for (size_t a = t.views; a < t.views + size_t(t.count); ++a)
        for (size_t b = s.views; b < s.views + size_t(s.count) && r_.written_[a]; ++b)
          if (meet(a, b)) return false;
    }
    return true;
  }
  // Whether call i will be run block by block with the one before it, which spares more memory.
  bool follows(int i) {
    const Node n = node(i);
    int m = i - 1;
    while (m >= 0 && r_.steps_[size_t(m)].call == nullptr) --m;
    if (m < 0 || n.views[0].size() < kSmallestChain || !is_elementwise(node(m).kernel))
      return false;
    const int to = node(m).buffers[0];
    return to >= 0 && touches(to).size() == 2 && touches(to).back() == i && lie_alike(node(m)) &&
           lies_as(node(m).views[0], n.views[0]);
  }
  static bool once(const Node& n, int buffer) {
    return std::count(n.buffers, n.buffers + n.count, buffer) == 1;
  }

  // Call j takes the place of two: its params and views are those of `from`, one of them.
  void join(int i, int j, int from) {
    Step &first = r_.steps_[size_t(i)], &second = r_.steps_[size_t(j)];
    const auto of = [&](const Step& s) { return r_.labels_[size_t(s.label)]; };
    const Step both = r_.steps_[size_t(from)];
    const std::string name = of(first).first + "+" + of(second).first, line = of(both).second;
    r_.labels_.push_back({name, line});
    const int64_t work = first.work + second.work;
    second = both;
    second.work = work;
    second.label = int(r_.labels_.size()) - 1;
    first.call = nullptr;
    ++r_.folded_;
  }

  // The element-wise call j into the one that makes its view k.
  bool next(int j, int k) {
    const Node b = node(j);
    const int made = b.buffers[k], to = b.buffers[0];
    if (made < 0 || to < 0 || r_.buffers_[size_t(made)].output >= 0 || touches(made).size() != 2 ||
        !once(b, made))
      return false;
    const int i = touches(made).front();
    const Node a = node(i);
    const Next* row = row_of(nexts(), r_.steps_[size_t(i)]);
    if (row == nullptr || a.buffers[row->output] != made || !once(a, made) ||
        a.views[row->output].dtype != b.views[0].dtype || !makes(i, b.views[k], made) ||
        !makes(j, b.views[0], to) || !writes_no_more(i, row->output) || !unchanged(i, j))
      return false;
    leave(a, i);
    leave(b, j);
    const bool done = row->fold(a, b, k);
    touch(a, done ? j : i);
    if (done)
      join(i, j, i);
    else
      touch(b, j);
    return done;
  }

  // The element-wise call that makes what call j reads into that.
  void before(int j, const Before& row) {
    const Node a = node(j);
    const int made = a.buffers[row.input];
    if (made < 0 || touches(made).size() < 2 || touches(made)[1] != j || !once(a, made)) return;
    const int i = touches(made)[0];
    const Node b = node(i);
    const bool shared = r_.buffers_[size_t(made)].output >= 0 || touches(made).size() > 2;
    if (!is_elementwise(b.kernel) || !lie_alike(b) || b.buffers[0] != made ||
        !makes(i, a.views[row.input], made) || !unchanged(i, j) || follows(i))
      return;
    leave(a, j);
    leave(b, i);
    const bool done = row.fold(a, b, shared);
    touch(a, j);
    if (done)
      join(i, j, j);
    else
      touch(b, i);
  }

  Recording& r_;
  const std::vector<int64_t>& cuts_;
  std::vector<std::vector<int>> touches_;  // the calls that touch each buffer, in order
};

void Recording::simplify(const std::vector<int64_t>& cuts) {
  drop_unread();
  Folding(this, cuts).run();
  compact();
}

void Recording::compact() {
  std::vector<Step> steps;
  std::vector<View> views;
  std::vector<int> buffers;
  std::vector<char> written;
  for (Step s : steps_) {
    moved_.push_back(int(steps.size()));
    if (s.call == nullptr) continue;
    const size_t from = s.views;
    s.views = views.size();
    for (size_t at = from; at < from + size_t(s.count); ++at) {
      views.push_back(views_[at]);
      buffers.push_back(buffer_of_view_[at]);
      written.push_back(written_[at]);
    }
    steps.push_back(s);
  }
  moved_.push_back(int(steps.size()));
  steps_ = std::move(steps);
  views_ = std::move(views);
  buffer_of_view_ = std::move(buffers);
  written_ = std::move(written);
  find_lifetimes();
}

void Recording::find_lifetimes() {
  for (Buffer& b : buffers_) b.first = b.last = -1;
  for (int i = 0; i < int(steps_.size()); ++i)
    for (int k = 0; k < steps_[size_t(i)].count; ++k) {
      const int at = buffer_of_view_[steps_[size_t(i)].views + size_t(k)];
      if (at < 0) continue;
      Buffer& b = buffers_[size_t(at)];
      if (b.first < 0) b.first = i;
      b.last = i;
    }
}

}  // namespace tg
