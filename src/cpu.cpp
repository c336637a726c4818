// lstmcore._cpu: which instruction sets the CPU has and the operating system saves. Compiled for the baseline of the
// architecture, as it runs before anything is known about the CPU.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <initializer_list>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace {

#if defined(__x86_64__)

constexpr unsigned bits(std::initializer_list<int> positions) {
  unsigned mask = 0;
  for (int position : positions) mask |= 1u << position;
  return mask;
}

constexpr bool has(unsigned value, unsigned mask) { return (value & mask) == mask; }

// The levels of the x86-64 psABI as bits of CPUID.
// CPUID(1).ecx: sse3, ssse3, cx16, sse4.1, sse4.2, popcnt | fma, movbe, osxsave, avx, f16c
constexpr unsigned kLeaf1V2 = bits({0, 9, 13, 19, 20, 23});
constexpr unsigned kLeaf1V3 = bits({12, 22, 27, 28, 29});
// CPUID(7).ebx: bmi1, avx2, bmi2 | avx512f, avx512dq, avx512cd, avx512bw, avx512vl
constexpr unsigned kLeaf7V3 = bits({3, 5, 8});
constexpr unsigned kLeaf7V4 = bits({16, 17, 28, 30, 31});
// CPUID(0x80000001).ecx: lahf | lzcnt
constexpr unsigned kExtendedV2 = bits({0});
constexpr unsigned kExtendedV3 = bits({5});
// XCR0, the registers that the system saves when it switches threads: xmm, ymm | opmask, upper zmm, zmm16 to zmm31
constexpr unsigned kSavedV3 = bits({1, 2});
constexpr unsigned kSavedV4 = bits({5, 6, 7});

unsigned saved_registers() {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

int x86_64_level() {
  unsigned a, b, c, d, leaf1 = 0, leaf7 = 0, extended = 0;
  if (__get_cpuid(1, &a, &b, &c, &d)) leaf1 = c;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) leaf7 = b;
  if (__get_cpuid(0x80000001, &a, &b, &c, &d)) extended = c;

  if (!has(leaf1, kLeaf1V2) || !has(extended, kExtendedV2)) return 1;
  // kLeaf1V3 holds osxsave: without it xgetbv is an illegal instruction.
  if (!has(leaf1, kLeaf1V3) || !has(leaf7, kLeaf7V3) || !has(extended, kExtendedV3)) return 2;
  const unsigned saved = saved_registers();
  if (!has(saved, kSavedV3)) return 2;
  return has(leaf7, kLeaf7V4) && has(saved, kSavedV4) ? 4 : 3;
}

PyObject* supported(PyObject*, PyObject*) {
  switch (x86_64_level()) {
    case 4: return Py_BuildValue("(sss)", "x86_64_v4", "x86_64_v3", "x86_64_v2");
    case 3: return Py_BuildValue("(ss)", "x86_64_v3", "x86_64_v2");
    case 2: return Py_BuildValue("(s)", "x86_64_v2");
    default: return PyTuple_New(0);
  }
}

#elif defined(__aarch64__)

// Advanced SIMD with fused multiply-add is part of the architecture.
PyObject* supported(PyObject*, PyObject*) { return Py_BuildValue("(s)", "aarch64"); }

#endif

PyMethodDef methods[] = {
    {"supported", supported, METH_NOARGS, "Names of the instruction sets that this machine can run, best first."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef module = {PyModuleDef_HEAD_INIT,
                      "_cpu",
                      "What the CPU and the operating system support.",
                      0,
                      methods,
                      nullptr,
                      nullptr,
                      nullptr,
                      nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__cpu() { return PyModuleDef_Init(&module); }
