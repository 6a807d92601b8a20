#include <algorithm>
#include <cstdio>

#include "core/args.h"
#include "ops/pool/pool.h"

namespace tg {
namespace {

using Wide = __int128;  // sums and products of sizes near 2^63

void read_tuple(const char* op, const char* name, py::handle h, int rank, int64_t least,
                int64_t* out) {
  int64_t all[kMaxDims];  // out has room for rank of them, however many came
  const int n = integers_of(h, all, kMaxDims, op, name);
  check(n == rank, ErrorKind::shape, op, ": ", name, " must have one entry for each of the ", rank,
        " spatial axes, got ", Shape{all, n});
  for (int i = 0; i < rank; ++i) {
    check(all[i] >= least, ErrorKind::value, op, ": ", name, " must be at least ", least, ", got ",
          Shape{all, n});
    out[i] = all[i];
  }
}

void read_padding(const char* op, py::handle h, int rank, int64_t* before, int64_t* after) {
  check((PyTuple_Check(h.ptr()) || PyList_Check(h.ptr())) && int(py::len(h)) == rank,
        ErrorKind::shape, op, ": padding must be one (before, after) pair for each of the ", rank,
        " spatial axes");
  const auto pairs = py::reinterpret_borrow<py::sequence>(h);
  for (int i = 0; i < rank; ++i) {
    int64_t pair[kMaxDims];
    const py::object item = pairs[i];
    check(integers_of(item, pair, kMaxDims, op, "padding") == 2, ErrorKind::shape, op,
          ": padding must be (before, after) pairs");
    before[i] = pair[0];
    after[i] = pair[1];
    check(pair[0] >= 0 && pair[1] >= 0, ErrorKind::value, op, ": padding must be at least 0, got (",
          pair[0], ", ", pair[1], ")");
  }
}

// The longest run of positions that read alike, around the middle one.
void find_run(AxisTaps& t) {
  const int64_t n = int64_t(t.first.size());
  const auto constant = [&](int64_t i) { return t.first[i] - i / t.period * t.advance; };
  const int64_t start = n / 2 / t.period * t.period;
  if (start + t.period > n) return;
  const auto alike = [&](int64_t j) {  // the whole period that starts at j
    for (int64_t r = 0; r < t.period; ++r)
      if (constant(j + r) != constant(start + r) || t.count[j + r] != t.count[start + r])
        return false;
    return true;
  };
  t.begin = t.end = start;
  while (t.end + t.period <= n && alike(t.end)) t.end += t.period;
  while (t.begin >= t.period && alike(t.begin - t.period)) t.begin -= t.period;
}

}  // namespace

PoolName::PoolName(const char* family, int rank, const char* suffix) {
  std::snprintf(text, sizeof text, "%s%dd%s", family, rank, suffix);
}

int pool_rank(const char* op, const View& x, const char* name) {
  check(x.ndim >= 3 && x.ndim <= 5, ErrorKind::shape, op, ": ", name,
        " must be (N, C, *spatial) with 1 to 3 spatial axes, got shape ", shape_of(x));
  return x.ndim - 2;
}

void read_spatial(const char* op, const char* name, py::handle sizes, int rank, int64_t* out) {
  read_tuple(op, name, sizes, rank, 0, out);
}

PoolGeometry read_geometry(const char* op, int rank, const int64_t* in, py::handle kernel,
                           py::handle stride, py::handle padding, py::handle dilation,
                           bool ceil_mode) {
  PoolGeometry g{};
  const int lead = 3 - rank;
  for (int i = 0; i < lead; ++i) g.in[i] = g.out[i] = g.kernel[i] = g.stride[i] = g.dilation[i] = 1;
  std::copy_n(in, rank, g.in + lead);
  int64_t *k = g.kernel + lead, *s = g.stride + lead, *d = g.dilation + lead;
  int64_t *before = g.before + lead, *after = g.after + lead;
  read_tuple(op, "kernel", kernel, rank, 1, k);
  read_tuple(op, "stride", stride, rank, 1, s);
  read_padding(op, padding, rank, before, after);
  std::fill_n(d, rank, int64_t(1));
  if (!dilation.is_none()) read_tuple(op, "dilation", dilation, rank, 1, d);
  for (int i = 0; i < rank; ++i) {
    const Wide span = Wide(d[i]) * (k[i] - 1) + 1;
    check(before[i] <= span / 2 && after[i] <= span / 2, ErrorKind::value, op, ": padding ",
          Shape{before[i] <= span / 2 ? after : before, rank}, " must be at most half of kernel ",
          Shape{k, rank});
    const Wide room = Wide(in[i]) + before[i] + after[i] - span;
    check(room >= 0, ErrorKind::shape, op, ": kernel ", Shape{k, rank}, " with dilation ",
          Shape{d, rank}, " is larger than the input ", Shape{in, rank}, " with padding ",
          Shape{before, rank});
    check(room < (Wide(1) << 62) && span < (Wide(1) << 62), ErrorKind::value, op, ": kernel ",
          Shape{k, rank}, " and padding ", Shape{before, rank}, " are too large");
    Wide out = room / s[i] + 1;
    if (ceil_mode) {  // the last window must start inside the input or the padding before it
      out = (room + s[i] - 1) / s[i] + 1;
      if ((out - 1) * s[i] >= Wide(in[i]) + before[i]) --out;
    }
    g.out[lead + i] = int64_t(out);
  }
  return g;
}

PoolGeometry adaptive_geometry(const char* op, int rank, const int64_t* in, const int64_t* out) {
  PoolGeometry g{};
  g.adaptive = true;
  const int lead = 3 - rank;
  for (int i = 0; i < 3; ++i) {
    g.in[i] = i < lead ? 1 : in[i - lead];
    g.out[i] = i < lead ? 1 : out[i - lead];
    g.dilation[i] = 1;
    check(g.in[i] > 0 || g.out[i] == 0, ErrorKind::shape, op, ": cannot pool an input of ",
          Shape{in, rank}, " into ", Shape{out, rank});
  }
  return g;
}

AxisTaps taps_of_outputs(const PoolGeometry& g, int axis) {
  AxisTaps t;
  const int64_t in = g.in[axis], out = g.out[axis], k = g.kernel[axis], d = g.dilation[axis];
  t.step = d;
  t.advance = g.adaptive ? in / std::max<int64_t>(out, 1) : g.stride[axis];
  t.first.resize(out);
  t.count.resize(out);
  int64_t most = 0;
  for (int64_t o = 0; o < out; ++o) {
    if (g.adaptive) {
      t.first[o] = int64_t(Wide(o) * in / out);
      t.count[o] = int64_t((Wide(o + 1) * in + out - 1) / out) - t.first[o];
      continue;
    }
    const int64_t start = o * g.stride[axis] - g.before[axis];
    const int64_t skip = start < 0 ? (-start - 1) / d + 1 : 0;
    const int64_t end = start >= in ? 0 : std::min(k, (in - start - 1) / d + 1);
    t.first[o] = start + skip * d;
    t.count[o] = std::max<int64_t>(end - skip, 0);
    most = std::max(most, t.count[o]);
  }
  if (most <= 1) t.step = 1;  // no second tap: a huge dilation must not overflow a product
  find_run(t);
  return t;
}

AxisTaps taps_of_inputs(const PoolGeometry& g, int axis) {
  const AxisTaps outputs = taps_of_outputs(g, axis);
  const int64_t in = g.in[axis], out = g.out[axis];
  AxisTaps t;
  t.period = outputs.advance > 0 ? outputs.advance : 1;
  t.advance = g.adaptive && out > in ? out / std::max<int64_t>(in, 1) : 1;
  t.first.resize(in);
  t.count.resize(in);
  int64_t low = 0, high = 0;  // windows [low, high) cover i: both ends of windows ascend
  for (int64_t i = 0; i < in; ++i) {
    while (high < out && outputs.first[high] <= i) ++high;
    while (low < high && outputs.first[low] + outputs.count[low] <= i) ++low;
    t.first[i] = low;
    t.count[i] = high - low;
  }
  find_run(t);
  return t;
}

std::vector<double> counts_of_outputs(const PoolGeometry& g, int axis, bool include_padding) {
  const AxisTaps t = taps_of_outputs(g, axis);
  std::vector<double> counts(t.count.begin(), t.count.end());
  for (int64_t o = 0; o < g.out[axis]; ++o) {
    if (include_padding && !g.adaptive) {
      const int64_t start = o * g.stride[axis] - g.before[axis];
      counts[o] =
          double(std::min(Wide(start) + g.kernel[axis], Wide(g.in[axis]) + g.after[axis]) - start);
    }
    counts[o] = std::max(counts[o], 1.0);
  }
  return counts;
}

}  // namespace tg
