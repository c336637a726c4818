// The OpenMP team. Work is cut by the problem; the number of threads decides only who computes a piece, so that no
// result depends on it. Denormals are flushed inside a team and the caller's mode is restored after it.
#pragma once

#include <algorithm>
#include <cstddef>

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

// f(member) on each of n threads. f must not throw.
template <class F>
void team(int n, F&& f) {
#if defined(_OPENMP)
  if (n > 1) {
    detail::thread_settings().team_ran = true;
#pragma omp parallel num_threads(n)
    {
      FlushDenormals guard;
      // OpenMP may give fewer threads than asked for: the members it has share the work of all.
      for (int member = omp_get_thread_num(); member < n; member += omp_get_num_threads()) f(member);
    }
    return;
  }
#endif
  FlushDenormals guard;
  for (int member = 0; member < n; ++member) f(member);
}

// f(begin, end) on contiguous parts of [0, n_items).
template <class F>
void parallel_for(std::ptrdiff_t n_items, double flops, F&& f) {
  const int n = team_size(n_items, flops);
  team(n, [&](int member) { f(n_items * member / n, n_items * (member + 1) / n); });
}

}  // namespace lstmcore
