// Enough of CUDA's built-in names for g++ to run our .cu files on the CPU.
//
// The threads of a CUDA block are coroutines. Each runs alone until a barrier, in
// rising or falling order, so a result that leans on a missing barrier changes with
// the order. Shuffles are two barriers: every thread of the block must take part.
#pragma once
#include <ucontext.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)

using std::fabs;
using std::fmax;
using std::fmin;

struct float2 { float x, y; };
struct double2 { double x, y; };

inline int __float_as_int(float value)
{
    int bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float __int_as_float(int bits)
{
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

namespace shim {

struct Index { unsigned x, y, z; };
inline Index thread_index, thread_count, block_index, block_count;

const int RUNNING = -1, FINISHED = -2, EXCHANGE = -3;
const size_t STACK = 256 * 1024;

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    int waits_at = RUNNING;  // the source line of a barrier, or one of the above
};

inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline std::function<void()> body;
inline std::vector<double> slots;

inline void barrier(int line)
{
    Fiber& self = fibers[thread_index.x];
    self.waits_at = line;
    swapcontext(&self.context, &scheduler);
}

inline void enter()
{
    body();
    fibers[thread_index.x].waits_at = FINISHED;
}

inline void start(unsigned thread)
{
    Fiber& fiber = fibers[thread];
    fiber.stack.resize(STACK);
    fiber.waits_at = RUNNING;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = &scheduler;
    makecontext(&fiber.context, enter, 0);
}

// true when all threads stopped at the same place
inline bool pass(unsigned threads, bool reversed)
{
    for (unsigned k = 0; k < threads; ++k) {
        thread_index.x = reversed ? threads - 1 - k : k;
        swapcontext(&scheduler, &fibers[thread_index.x].context);
    }
    for (unsigned k = 1; k < threads; ++k)
        if (fibers[k].waits_at != fibers[0].waits_at) return false;
    return true;
}

// 0, or 1 where the threads of a block met different barriers
inline int run(unsigned grid, unsigned threads, int reversed, std::function<void()> f)
{
    body = f;
    fibers.resize(threads);
    slots.resize(threads);
    thread_count = {threads, 1, 1};
    block_count = {grid, 1, 1};
    for (unsigned b = 0; b < grid; ++b) {
        block_index = {reversed ? grid - 1 - b : b, 0, 0};
        for (unsigned k = 0; k < threads; ++k) start(k);
        do {
            if (!pass(threads, reversed)) return 1;
        } while (fibers[0].waits_at != FINISHED);
    }
    return 0;
}

template <class T> T exchange(T value, unsigned thread)
{
    static_assert(sizeof(T) <= sizeof(double), "shuffles move at most 8 bytes");
    std::memcpy(&slots[thread_index.x], &value, sizeof value);
    barrier(EXCHANGE);
    std::memcpy(&value, &slots[thread], sizeof value);
    barrier(EXCHANGE);
    return value;
}

}  // namespace shim

#define threadIdx shim::thread_index
#define blockDim shim::thread_count
#define blockIdx shim::block_index
#define gridDim shim::block_count
#define __syncthreads() shim::barrier(__LINE__)

template <class T> T __shfl_sync(unsigned, T value, int lane, int width = 32)
{
    unsigned base = threadIdx.x / width * width;
    return shim::exchange(value, base + lane % width);
}

template <class T> T __shfl_xor_sync(unsigned, T value, int mask, int width = 32)
{
    unsigned base = threadIdx.x / width * width;
    return shim::exchange(value, base + ((threadIdx.x % width) ^ mask));
}
