#include "core/pool.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <string>
#include <vector>

namespace tg {
namespace {

constexpr size_t kAlign = 64, kHugePage = size_t(2) << 20;
constexpr int kClasses = 4 * 58;

// In front of every block, in a cache line of its own so that the data stays aligned.
struct Header {
  size_t capacity;
  int size_class;
};
static_assert(sizeof(Header) <= kAlign, "the header is one alignment unit");

Header* header_of(void* block) {
  return reinterpret_cast<Header*>(static_cast<char*>(block) - kAlign);
}

// Four classes per power of two: at most a fifth of a block is wasted.
int class_of(size_t bytes, size_t* capacity) {
  if (bytes <= 64) {
    *capacity = 64;
    return 0;
  }
  const int top = 63 - __builtin_clzll(bytes - 1);
  const size_t base = size_t(1) << top, step = base / 4, quarter = (bytes - 1 - base) / step;
  *capacity = base + (quarter + 1) * step;
  return (top - 6) * 4 + int(quarter) + 1;
}

// Threads of one kernel ask at the same moment; sleeping would take far longer than the wait.
class Guard {
 public:
  explicit Guard(std::mutex& m) : mutex_(m) {
    for (int i = 0; i < 1000; ++i)
      if (mutex_.try_lock()) return;
    mutex_.lock();
  }
  ~Guard() { mutex_.unlock(); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  std::mutex& mutex_;
};

struct Pool {
  std::mutex mutex;
  std::vector<void*> free_blocks[kClasses];
  PoolStats stats{0, 0, 0, 0};
};

// Never destroyed: arrays may outlive static destruction.
Pool& pool() {
  static Pool* const instance = [] {
    Pool* p = new Pool;
    p->stats.limit = std::min(memory_limit() / 4, size_t(8) << 30);
    return p;
  }();
  static const int registered = pthread_atfork(
      [] { pool().mutex.lock(); }, [] { pool().mutex.unlock(); }, [] { pool().mutex.unlock(); });
  (void)registered;
  return *instance;
}

size_t read_number(const char* path) {
  std::ifstream f(path);
  std::string word;
  if (!(f >> word) || word == "max") return SIZE_MAX;
  return std::strtoull(word.c_str(), nullptr, 10);
}

void* system_allocate(size_t capacity) {
  const size_t align = capacity >= kHugePage ? kHugePage : kAlign;
  void* base = nullptr;
  return posix_memalign(&base, align, capacity + kAlign) == 0 ? base : nullptr;
}

}  // namespace

size_t memory_limit() {
  static const size_t limit = [] {
    const size_t physical = size_t(sysconf(_SC_PHYS_PAGES)) * size_t(sysconf(_SC_PAGE_SIZE));
    return std::min({physical, read_number("/sys/fs/cgroup/memory.max"),
                     read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes")});
  }();
  return limit;
}

void* pool_allocate(size_t bytes) {
  // Refused here, before the system overcommits: touching the pages would kill the process.
  if (bytes > memory_limit()) return nullptr;
  size_t capacity;
  const int c = class_of(bytes, &capacity);
  Pool& p = pool();
  {
    const Guard lock(p.mutex);
    if (p.stats.in_use + capacity > memory_limit()) return nullptr;
    p.stats.in_use += capacity;
    p.stats.peak = std::max(p.stats.peak, p.stats.in_use);
    auto& blocks = p.free_blocks[c];
    if (!blocks.empty()) {
      void* block = blocks.back();
      blocks.pop_back();
      p.stats.cached -= capacity;
      return block;
    }
  }
  void* base = system_allocate(capacity);
  if (base == nullptr && pool_release() > 0) base = system_allocate(capacity);
  if (base == nullptr) {
    const Guard lock(p.mutex);
    p.stats.in_use -= capacity;
    return nullptr;
  }
#ifdef MADV_HUGEPAGE
  if (capacity >= kHugePage) madvise(base, capacity + kAlign, MADV_HUGEPAGE);
#endif
  *static_cast<Header*>(base) = {capacity, c};
  return static_cast<char*>(base) + kAlign;
}

void pool_free(void* block) {
  if (block == nullptr) return;
  const Header header = *header_of(block);
  Pool& p = pool();
  {
    const Guard lock(p.mutex);
    p.stats.in_use -= header.capacity;
#ifndef __SANITIZE_ADDRESS__  // there, every block goes back so that stale use is seen
    if (p.stats.cached + header.capacity <= p.stats.limit) {
      p.free_blocks[header.size_class].push_back(block);
      p.stats.cached += header.capacity;
      return;
    }
#endif
  }
  std::free(header_of(block));
}

void* pool_reallocate(void* block, size_t bytes) {
  void* fresh = pool_allocate(bytes);
  if (fresh != nullptr && block != nullptr) {
    std::memcpy(fresh, block, std::min(bytes, header_of(block)->capacity));
    pool_free(block);
  }
  return fresh;
}

size_t pool_release() {
  Pool& p = pool();
  const Guard lock(p.mutex);
  const size_t released = p.stats.cached;
  for (auto& blocks : p.free_blocks) {
    for (void* block : blocks) std::free(header_of(block));
    blocks.clear();
    blocks.shrink_to_fit();
  }
  p.stats.cached = 0;
  return released;
}

PoolStats pool_stats() {
  const Guard lock(pool().mutex);
  return pool().stats;
}

void pool_reset_peak() {
  const Guard lock(pool().mutex);
  pool().stats.peak = pool().stats.in_use;
}

}  // namespace tg
