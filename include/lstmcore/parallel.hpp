// The OpenMP team. Work is cut by the problem; the number of threads decides only who computes a piece, so that no
// result depends on it. Denormals are flushed inside a team and the caller's mode is restored after it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__SSE2__)
#include <immintrin.h>
#endif
#if defined(__aarch64__)
#include <cstdint>
#endif

namespace lstmcore {

namespace detail {

struct ThreadSettings {
  int requested = 0;      // set_max_threads; 0: the default
  int default_cap = 0;    // e.g. a container's CPU quota; 0: none
  bool team_ran = false;  // this process has started a pool of threads
  bool forked = false;    // this is the child of a process whose pool of threads the fork did not copy
};

inline ThreadSettings& thread_settings() {
  static ThreadSettings settings;
#if defined(__unix__) || defined(__APPLE__)
  // libgomp waits for ever for the pool that fork() left behind, so a child computes on one thread.
  static const int registered = pthread_atfork(nullptr, nullptr, [] { settings.forked = settings.team_ran; });
  (void)registered;
#endif
  return settings;
}

}  // namespace detail

// Is this a forked child that has lost its threads?
inline bool forked_without_threads() { return detail::thread_settings().forked; }

// The largest team: what was asked for, never more than OpenMP allows this thread (OMP_NUM_THREADS, affinity mask,
// threadpoolctl), by default no more than the default cap.
inline int max_threads() {
#if defined(_OPENMP)
  const detail::ThreadSettings& settings = detail::thread_settings();
  if (settings.forked || omp_in_parallel()) return 1;
  const int limit = settings.requested > 0 ? settings.requested : settings.default_cap;
  const int allowed = omp_get_max_threads();
  return std::max(1, limit > 0 ? std::min(limit, allowed) : allowed);
#else
  return 1;
#endif
}

// n ≥ 1 threads from now on; 0 goes back to the default.
inline void set_max_threads(int n) {
  detail::ThreadSettings& settings = detail::thread_settings();
#if defined(_OPENMP)
  static const int initial = omp_get_max_threads();
  omp_set_num_threads(n > 0 ? n : initial);
#endif
  settings.requested = n;
}

inline void set_default_threads(int n) { detail::thread_settings().default_cap = n; }

// Flushes denormals to zero on this thread while it lives.
class FlushDenormals {
 public:
#if defined(__SSE2__)
  FlushDenormals() : saved_(_mm_getcsr()) {
    if ((saved_ & kFlush) != kFlush) _mm_setcsr(saved_ | kFlush);
  }
  ~FlushDenormals() {
    if ((saved_ & kFlush) != kFlush) _mm_setcsr(saved_);
  }

 private:
  static constexpr unsigned kFlush = 0x8040;  // flush-to-zero and denormals-are-zero
  unsigned saved_;
#elif defined(__aarch64__)
  FlushDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(saved_ | (std::uint64_t{1} << 24)));
  }
  ~FlushDenormals() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }

 private:
  std::uint64_t saved_;
#else
  FlushDenormals() {}
#endif
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;
};

// A thread is worth waking for this many floating-point operations.
constexpr double kFlopsPerThread = 1e6;

// How many threads to use for n_items pieces that cost `flops` together.
inline int team_size(std::ptrdiff_t n_items, double flops) {
  if (flops < 2 * kFlopsPerThread || n_items < 2) return 1;
  const double by_work = std::min(flops / kFlopsPerThread, static_cast<double>(n_items));
  return static_cast<int>(std::min(by_work, static_cast<double>(max_threads())));
}

// The members of a team while it works: fewer than wanted where teams of other threads of the program are at work, such
// as joblib's, so that all of them together have about as many as one alone.
class Members {
 public:
  explicit Members(int wanted) {
    const int others = at_work().fetch_add(wanted, std::memory_order_relaxed);
    count = std::max(1, std::min(wanted, max_threads() - others));
    at_work().fetch_sub(wanted - count, std::memory_order_relaxed);
  }
  ~Members() { at_work().fetch_sub(count, std::memory_order_relaxed); }
  Members(const Members&) = delete;
  Members& operator=(const Members&) = delete;

  int count;

 private:
  static std::atomic<int>& at_work() {
    static std::atomic<int> threads{0};
    return threads;
  }
};

// f(member, size) on each thread of a team of n, or of fewer. f must not throw.
template <class F>
void team(int n, F&& f) {
#if defined(_OPENMP)
  if (n > 1) {
    detail::thread_settings().team_ran = true;
    const Members members(n);
#pragma omp parallel num_threads(members.count)
    {
      FlushDenormals guard;
      f(omp_get_thread_num(), omp_get_num_threads());
    }
    return;
  }
#endif
  FlushDenormals guard;
  f(0, 1);
}

// f(begin, end) on contiguous parts of [0, n_items).
template <class F>
void parallel_for(std::ptrdiff_t n_items, double flops, F&& f) {
  team(team_size(n_items, flops),
       [&](int member, int size) { f(n_items * member / size, n_items * (member + 1) / size); });
}

// f(0) … f(n − 1) on a thread each, which f has for itself: inside it teams have one member. What f throws is thrown
// here, when all are done.
template <class F>
void side_by_side(int n, F&& f) {
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(n));
  team(n, [&](int member, int size) {
    for (int i = member; i < n; i += size) {
      try {
        f(i);
      } catch (...) {
        errors[i] = std::current_exception();
      }
    }
  });
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

// Where the members of a team wait for each other, often: it spins, and lets others run if the wait is long.
class alignas(64) Barrier {
 public:
  void wait(int members) {
    const unsigned generation = generation_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == members - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      generation_.store(generation + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; generation_.load(std::memory_order_acquire) == generation; ++spins) {
      if (spins > kSpins) std::this_thread::yield();
#if defined(__SSE2__)
      _mm_pause();
#elif defined(__aarch64__)
      asm volatile("yield");
#endif
    }
  }

 private:
  static constexpr int kSpins = 2000;
  std::atomic<int> arrived_{0};
  std::atomic<unsigned> generation_{0};
};

}  // namespace lstmcore
