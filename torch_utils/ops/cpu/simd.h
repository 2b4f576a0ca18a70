// Vectors as wide as the processor's, bfloat16 in memory, and work split over threads: for the kernels beside this file.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <dlfcn.h>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <stdlib.h>
#include <sys/mman.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define V2S_INLINE __attribute__((always_inline))  // where vectors should stay in registers
#ifdef __clang__
#define V2S_UNROLL _Pragma("clang loop unroll(full)")
#else
#define V2S_UNROLL _Pragma("GCC unroll 16")  // so early that g++ keeps arrays of vectors in registers
#endif

namespace v2s {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef uint32_t Bits __attribute__((vector_size(kLanes * 4)));
typedef uint16_t Half __attribute__((vector_size(kLanes * 2)));

enum Kind { kBFloat16 = 1, kFloat32 = 2, kFloat64 = 3 };  // of the numbers in a picture, as in launch.h

struct BFloat16 {
    uint16_t bits;
};

inline Vec load(const float* from) {
    Vec v;
    memcpy(&v, from, sizeof v);
    return v;
}

inline Vec load(const BFloat16* from) {
#ifdef __AVX512F__
    __m256i h;
    memcpy(&h, from, sizeof h);
    return (Vec)((Bits)_mm512_maskz_cvtepu16_epi32(0xffff, h) << 16);  // g++ 12 makes a detour of the lines below
#else
    Half h;
    memcpy(&h, from, sizeof h);
    return (Vec)(__builtin_convertvector(h, Bits) << 16);
#endif
}

inline void store(float* to, Vec v) { memcpy(to, &v, sizeof v); }

inline void store(BFloat16* to, Vec v) {  // rounds to the nearest, ties to even; what is not a number stays one
#ifdef __AVX512BF16__
    __m256bh h = _mm512_cvtneps_pbh((__m512)v);
    memcpy(to, &h, sizeof h);
#else
    Bits b = (Bits)v;
    Bits rounded = (b + 0x7fff + ((b >> 16) & 1)) >> 16;
    Half h = __builtin_convertvector(v == v ? rounded : (b >> 16) | 0x40, Half);
    memcpy(to, &h, sizeof h);
#endif
}

// Stores to memory past the caches, where the processor can and bypass says so; fence() before others read it.
inline void finish(float* to, Vec v, bool bypass) {
#ifdef __AVX512F__
    if (bypass && reinterpret_cast<uintptr_t>(to) % sizeof v == 0) {
        _mm512_stream_ps(to, (__m512)v);
        return;
    }
#endif
    (void)bypass;
    store(to, v);
}

inline void finish(BFloat16* to, Vec v, bool) { store(to, v); }

inline void fence() {
#ifdef __AVX512F__
    _mm_sfence();
#endif
}

// Brings memory into the second cache while other work goes on.
V2S_INLINE inline void fetch(const void* from, int64_t bytes) {
    const char* at = static_cast<const char*>(from);
    for (int64_t i = 0; i < bytes; i += 64) {
        __builtin_prefetch(at + i, 0, 2);
        asm volatile("" : : "r"(at + i));  // or g++ takes the caller for one that does nothing, and leaves it out
    }
}

inline float widen(BFloat16 x) {
    uint32_t bits = uint32_t(x.bits) << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

inline void put(float* to, float x) { *to = x; }

inline void put(BFloat16* to, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    to->bits = uint16_t(x == x ? rounded : (bits >> 16) | 0x40);
}

inline Vec all(float x) { return x - Vec{}; }
inline Vec largest(Vec a, Vec b) { return a > b ? a : b; }
inline Vec smallest(Vec a, Vec b) { return a < b ? a : b; }

// Lanes whose number has the bit: of b, added to their neighbours; the others of a.
template <size_t Bit, size_t... I> inline Vec fold(Vec a, Vec b, std::index_sequence<I...>) {
    return Vec{(I & Bit ? b[I ^ Bit] : a[I])...} + Vec{(I & Bit ? b[I] : a[I ^ Bit])...};
}

// The sums of kLanes vectors, as the lanes of one.
template <size_t Bit = 1> inline Vec fold(Vec* v) {
    for (size_t i = 0; i < kLanes / Bit / 2; i++)
        v[i] = fold<Bit>(v[2 * i], v[2 * i + 1], std::make_index_sequence<kLanes>());
    if constexpr (2 * Bit < kLanes)
        return fold<2 * Bit>(v);
    else
        return v[0];
}

// Runs work(with) on so many threads at once.
typedef void (*Team)(void (*work)(void*), void* with, unsigned threads, unsigned flags);

inline const pid_t kLoadedBy = getpid();

// GNU's OpenMP where the process has it, as PyTorch on Linux does, else null; null in a forked child, which has lost its
// threads, and where it would wait for them.
inline Team openmp() {
    return getpid() == kLoadedBy ? reinterpret_cast<Team>(dlsym(RTLD_DEFAULT, "GOMP_parallel")) : nullptr;
}

// Threads that wait between calls: OpenMP's, since others would wait for the cores on which those look out for work;
// without it threads of our own. A call inside a call, or beside one, runs alone.
class Pool {
  public:
    static Pool& here() {  // without a lock, which would stay shut in the child of a process that forks beside a call
        static std::atomic<Pool*> current{nullptr};
        Pool* pool = current;
        if (pool && pool->process_ == getpid()) return *pool;
        std::unique_ptr<Pool> fresh(new Pool());
        return current.compare_exchange_strong(pool, fresh.get()) ? *fresh.release() : *pool;  // its threads outlive main
    }

    // Calls job(0) .. job(count - 1), each once, on at most so many threads; returns when all have ended, and throws what
    // one of them threw. Where the system gives no more threads, those that there are do the work.
    void run(int64_t count, int threads, const std::function<void(int64_t)>& job) {
        if (threads > count) threads = int(count);
        std::unique_lock<std::mutex> alone(busy_, std::try_to_lock);
        if (threads <= 1 || !alone.owns_lock()) {
            for (int64_t i = 0; i < count; i++) job(i);
            return;
        }
        std::unique_lock<std::mutex> lock(state_);
        if (!team_) grow(threads - 1);
        job_ = &job, count_ = count, next_ = ended_ = 0, helpers_ = threads - 1, round_++;
        if (team_) {
            lock.unlock();
            team_([](void* pool) { static_cast<Pool*>(pool)->help(); }, this, threads, 0);
        } else {
            wake_.notify_all();
            work(lock);
            done_.wait(lock, [this] { return ended_ == count_; });
        }
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    }

  private:
    void grow(int helpers) {
        try {
            while (int(threads_.size()) < helpers) {
                threads_.emplace_back([this, index = int(threads_.size()), seen = round_] { serve(index, seen); });
                threads_.back().detach();
            }
        } catch (const std::system_error&) {
        }
    }

    void serve(int index, int64_t seen) {
        std::unique_lock<std::mutex> lock(state_);
        for (;;) {
            wake_.wait(lock, [&] { return round_ != seen; });
            seen = round_;
            if (index < helpers_) work(lock);
        }
    }

    void help() {
        std::unique_lock<std::mutex> lock(state_);
        work(lock);
    }

    // Takes jobs while there are any. Nobody waits for a thread that a busy machine lets wake when there are none left.
    void work(std::unique_lock<std::mutex>& lock) {
        while (next_ < count_) {
            const auto& job = *job_;
            int64_t i = next_++;
            std::exception_ptr failure;
            lock.unlock();
            try {
                job(i);
            } catch (...) {
                failure = std::current_exception();
            }
            lock.lock();
            if (failure) failure_ = failure;
            if (++ended_ == count_) done_.notify_one();
        }
    }

    const pid_t process_ = getpid();
    const Team team_ = openmp();
    std::mutex busy_, state_;
    std::condition_variable wake_, done_;
    std::vector<std::thread> threads_;
    const std::function<void(int64_t)>* job_ = nullptr;
    int64_t count_ = 0, next_ = 0, ended_ = 0, round_ = 0;
    int helpers_ = 0;
    std::exception_ptr failure_;
};

// Does the work of a call; returns null, or why it failed: an exception must not reach the caller, who knows none.
template <class Work> const char* attempt(const Work& work) {
    try {
        work();
        return nullptr;
    } catch (const std::bad_alloc&) {
        return "there is not enough memory";
    }
}

// Memory of this thread that lasts from call to call, aligned, in large pages where the system has them; slot: whose.
inline float* scratch(int slot, size_t floats) {
    struct Held {
        void* at = nullptr;
        size_t bytes = 0;
        ~Held() { free(at); }
    };
    thread_local Held held[6];
    Held& mine = held[slot];
    size_t bytes = floats * sizeof(float);
    if (mine.bytes < bytes) {
        constexpr size_t kPage = size_t(2) << 20;
        bytes = (bytes + kPage - 1) / kPage * kPage;
        free(mine.at);
        mine = {};
        if (posix_memalign(&mine.at, kPage, bytes) != 0) throw std::bad_alloc();
        mine.bytes = bytes;
#ifdef MADV_HUGEPAGE
        madvise(mine.at, bytes, MADV_HUGEPAGE);
#endif
        memset(mine.at, 0, bytes);
    }
    return static_cast<float*>(mine.at);
}

}  // namespace v2s
