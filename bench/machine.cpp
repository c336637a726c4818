// What this machine can do, measured with the vectors and the number of accumulators of the kernels.
//
//   machine fma <threads>                    GFLOP/s of multiply-adds from registers
//   machine read <threads> <bytes a thread>  GB/s of reads, each thread its own memory again and again
//
// Prints the best rate over the repetitions, of all threads together.
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "lstmcore/buffer.hpp"
#include "lstmcore/panel.hpp"

namespace {

using lstmcore::Index;
using Vector = lstmcore::Vec<float>;
using Clock = std::chrono::steady_clock;

constexpr double kSeconds = 4e-3;  // of each repetition, at least
constexpr int kRepetitions = 20;

// The compiler knows neither what goes in nor that nobody wants what comes out.
volatile float factor = 0.5F, addend = 0.25F;
thread_local volatile float result;

template <int Count>
float sum_of(const Vector (&vectors)[Count]) {
  Vector total = vectors[0];
  for (int i = 1; i < Count; ++i) total = total + vectors[i];
  alignas(64) float lanes[Vector::width];
  total.store(lanes);
  return lanes[0];
}

// The accumulators of an LSTM's tile.
constexpr int kRows = lstmcore::max_rows(4), kGates = 4;

LSTMCORE_NOINLINE void multiply_add(Index n) {
  const Vector a(factor), b(addend);
  Vector acc[kRows][kGates];
  for (int r = 0; r < kRows; ++r) {
    for (int g = 0; g < kGates; ++g) acc[r][g] = Vector(factor + static_cast<float>(r * kGates + g));
  }
  for (Index i = 0; i < n; ++i) {
    LSTMCORE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      LSTMCORE_UNROLL
      for (int g = 0; g < kGates; ++g) acc[r][g] = fma(acc[r][g], a, b);
    }
  }
  for (int r = 0; r < kRows; ++r) result = sum_of(acc[r]);
}

constexpr int kReads = 8;  // vectors in flight, enough to hide the latency of an addition

LSTMCORE_NOINLINE void read(const float* data, Index size, Index passes) {
  Vector acc[kReads];
  for (Vector& sum : acc) sum = Vector(0.0F);
  for (Index pass = 0; pass < passes; ++pass) {
    for (Index i = 0; i < size; i += kReads * Vector::width) {
      LSTMCORE_UNROLL
      for (int j = 0; j < kReads; ++j) acc[j] = acc[j] + Vector::load(data + i + j * Vector::width);
    }
  }
  result = sum_of(acc);
}

// Repetitions a second of run(n)'s n, the best of several. Each thread makes its own run, and with it its memory.
template <class Make>
double best_rate(int threads, Make make) {
  Index n = 1;
  double seconds = 0, best = 0;
#pragma omp parallel num_threads(threads)
  {
    const auto run = make();
    const auto timed = [&] {
#pragma omp barrier
      const Clock::time_point start = Clock::now();
      run(n);
#pragma omp barrier
#pragma omp single
      seconds = std::chrono::duration<double>(Clock::now() - start).count();
    };
    for (int done = 0; done < kRepetitions;) {
      timed();
      const bool enough = seconds >= kSeconds;  // else once more, with more to do
      if (enough) ++done;
#pragma omp barrier
#pragma omp single
      if (enough) {
        best = std::max(best, static_cast<double>(n) / seconds);
      } else {
        n *= 2;
      }
    }
  }
  return best;
}

double multiply_add_rate(int threads) {
  return best_rate(threads, [] { return multiply_add; }) * kRows * kGates * Vector::width * 2 * threads;
}

double read_rate(int threads, Index bytes) {
  const Index step = kReads * Vector::width;
  const Index size = std::max(step, bytes / static_cast<Index>(sizeof(float)) / step * step);
  const auto make = [size] {
    lstmcore::Buffer<float> buffer;
    std::fill_n(buffer.reserve(size), size, addend);
    return [buffer = std::move(buffer), size](Index passes) { read(buffer.data(), size, passes); };
  };
  return best_rate(threads, make) * static_cast<double>(size) * sizeof(float) * threads;
}

}  // namespace

int main(int count, char** arguments) {
  const int threads = count > 2 ? std::atoi(arguments[2]) : 0;
  if (threads > 0 && count == 3 && std::strcmp(arguments[1], "fma") == 0) {
    std::printf("%.1f\n", multiply_add_rate(threads) / 1e9);
  } else if (threads > 0 && count == 4 && std::strcmp(arguments[1], "read") == 0) {
    std::printf("%.1f\n", read_rate(threads, std::atoll(arguments[3])) / 1e9);
  } else {
    std::fprintf(stderr, "usage: machine fma <threads> | machine read <threads> <bytes a thread>\n");
    return 2;
  }
}
