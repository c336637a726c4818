"""What runs here and why: versions, instruction set, threads. The head of a bug report."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from lstmcore import __version__, _isa, _threads

_PACKAGES = ("numpy", "safetensors", "scikit-learn", "threadpoolctl", "tqdm", "matplotlib", "pandas", "torch")
_OPENMP = ("libgomp", "libomp", "libiomp5", "vcomp")
_BLAS = ("libopenblas", "libscipy_openblas", "libmkl_rt", "libblis", "libcblas", "libblas")


def show_versions() -> None:
    """Print which instruction set and how many threads are used and why, what else computes in this process, versions.

    - The instruction set: the best that the CPU, the operating system and this installation have, or the one that
      ``LSTMCORE_ISA`` names.
    - The threads: as `set_num_threads`, ``OMP_NUM_THREADS`` or the CPUs of this process say.
    - The OpenMP and BLAS libraries loaded into the process: each OpenMP runtime has threads of its own.
    - Denormal numbers: flushed to zero inside of the kernels alone, so that neither NumPy nor others see it.

    Examples
    --------
    >>> import lstmcore
    >>> lstmcore.show_versions()  # doctest: +SKIP
    """
    import numpy  # noqa: F401  # so that its BLAS is among what is loaded

    rows = {
        "lstmcore": __version__,
        "instruction set": f"{_isa.isa()}: {_why_isa()}",
        "threads": f"{_threads.get_num_threads()}: {_threads.why()}",
        "OpenMP": _named(_OPENMP) or "none loaded",
        "BLAS": _named(_BLAS) or "none loaded",
        "denormals": "flushed to zero inside of the kernels, the caller's mode restored",
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "CPU": _cpu_name(),
    }
    rows.update({name: _installed_version(name) for name in _PACKAGES})
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")


def _why_isa() -> str:
    built, supported = ", ".join(_isa.built()), ", ".join(_isa.supported())
    forced = os.environ.get(_isa.ENVIRONMENT_VARIABLE)
    why = f"named by {_isa.ENVIRONMENT_VARIABLE}" if forced else "the best of those built that run here"
    return f"{why} (built: {built}; run here: {supported})"


def _named(names: tuple[str, ...]) -> str:
    """Paths of the shared libraries in this process whose files have one of these names."""
    found = (path for path in _loaded_libraries() if path.name.startswith(names))
    return ", ".join(sorted(map(str, found)))


def _loaded_libraries() -> set[Path]:
    """The shared libraries mapped into this process, where the system lists them."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    fields = (line.split(maxsplit=5) for line in maps.splitlines())
    return {Path(line[5]) for line in fields if len(line) == 6 and ".so" in line[5]}


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    names = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith(("model name", "Model")))
    return next(names, platform.machine())


def _installed_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
