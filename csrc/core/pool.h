// Caching allocator for array memory: fresh pages cost more than the arithmetic of a ReLU.
#pragma once
#include <cstddef>
#include <cstdint>

namespace tg {

// 64-byte aligned; nullptr when the memory is not to be had. Thread safe, survives fork.
void* pool_allocate(size_t bytes);
void pool_free(void* block);
void* pool_reallocate(void* block, size_t bytes);

// Gives cached blocks back to the system; returns the number of bytes released.
size_t pool_release();

struct PoolStats {
  size_t in_use, cached, peak, limit;  // bytes
};
PoolStats pool_stats();
void pool_reset_peak();

// The smaller of physical memory and the control group's limit, in bytes.
size_t memory_limit();

}  // namespace tg
