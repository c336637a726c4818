"""The right module for this CPU: every one that the machine can run runs when forced, and only those."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lstmcore import _cpu, _isa

IS_X86 = platform.machine().lower() in ("x86_64", "amd64")

# The levels of the x86-64 psABI by the names that Linux gives the flags.
LINUX_FLAGS = {
    "x86_64_v2": {"cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2"},
    "x86_64_v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"},
    "x86_64_v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}

STEP = """
import numpy as np
from lstmcore._isa import core, isa
cell = core.RecurrentF32("lstm", 3, 5)
parameters, gradients = np.full(cell.n_parameters, 0.1, np.float32), np.zeros(cell.n_parameters, np.float32)
cell.bind(parameters, gradients)
y, states = cell.infer(np.ones((4, 3), np.float32), np.full(2, 2, np.int64), None)
assert y.shape == (4, 5) and np.isfinite(y).all() and y.any()
print(core.__name__, isa())
"""


def test_something_is_available() -> None:
    assert _isa.available()
    assert _isa.isa() == _isa.available()[0]


@pytest.mark.parametrize("name", _isa.supported())
def test_every_supported_one_runs_when_forced(name: str, run_python) -> None:
    if name not in _isa.built():
        pytest.skip(f"{name} is not part of this build (LSTMCORE_ISAS)")
    done = run_python(STEP, LSTMCORE_ISA=name)
    assert done.stdout.split() == [f"lstmcore._core_{name}", name]


def test_the_best_is_taken_when_none_is_forced(run_python) -> None:
    for nothing in ({}, {"LSTMCORE_ISA": ""}):
        done = run_python("import lstmcore._isa as i; print(i.isa())", **nothing)
        assert done.stdout.strip() == _isa.available()[0]


def test_an_unknown_name_raises_and_lists_the_known(run_python) -> None:
    done = run_python("import lstmcore", check=False, LSTMCORE_ISA="x86_64_v9")
    assert done.returncode != 0
    assert "ValueError: LSTMCORE_ISA='x86_64_v9'" in done.stderr
    for name in _isa.KNOWN:
        assert name in done.stderr


def test_a_name_of_another_architecture_raises_and_says_so(run_python) -> None:
    foreign = "aarch64" if IS_X86 else "x86_64_v3"
    done = run_python("import lstmcore", check=False, LSTMCORE_ISA=foreign)
    assert done.returncode != 0
    assert f"ImportError: LSTMCORE_ISA={foreign!r} is not supported by this CPU" in done.stderr


def test_a_known_name_that_was_not_built_raises_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    name = _isa.supported()[0]
    monkeypatch.setattr(_isa, "built", lambda: ("aarch64",) if IS_X86 else ("x86_64_v3",))
    with pytest.raises(ImportError, match=f"{name}.*was not built"):
        _isa.choose(name)
    with pytest.raises(ImportError, match="no module that this CPU can run"):
        _isa.choose(None)


def test_a_cpu_that_lacks_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_isa, "supported", lambda: ("x86_64_v2",))
    monkeypatch.setattr(_isa, "built", lambda: ("x86_64_v4", "x86_64_v3", "x86_64_v2"))
    assert _isa.choose(None) == "x86_64_v2"
    with pytest.raises(ImportError, match=r"x86_64_v4.*not supported.*supported: x86_64_v2"):
        _isa.choose("x86_64_v4")


@pytest.mark.skipif(not IS_X86 or not Path("/proc/cpuinfo").exists(), reason="needs /proc/cpuinfo of an x86-64 CPU")
def test_the_cpu_is_read_as_linux_reads_it() -> None:
    # Linux leaves out flags of registers that it does not save.
    line = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    assert line is not None
    flags = set(line.group(1).split())
    expected, needed = [], set()
    for name in ("x86_64_v2", "x86_64_v3", "x86_64_v4"):
        needed |= LINUX_FLAGS[name]
        if needed <= flags:
            expected.insert(0, name)
    assert list(_cpu.supported()) == expected


def _disassembly(name: str) -> str:
    spec = importlib.util.find_spec(f"lstmcore.{name}")
    assert spec is not None and spec.origin is not None
    objdump = shutil.which("objdump")
    if objdump is None:
        pytest.skip("objdump is missing: it comes with GCC, in binutils")
    listing = subprocess.run([objdump, "-d", "--no-show-raw-insn", spec.origin], capture_output=True, text=True)
    assert listing.returncode == 0, listing.stderr
    return listing.stdout


# AVX and later: anything on ymm, zmm or mask registers, and VEX-encoded SSE, whose names start with v (as do those of
# the older verr and verw).
AVX = re.compile(r"%[yz]mm\d|%k[0-7]\b|^\s+[0-9a-f]+:\s+(?!verr|verw)v[a-z]", re.MULTILINE)


@pytest.mark.skipif(not IS_X86, reason="AVX is of x86-64")
@pytest.mark.parametrize("module", ["_core_x86_64_v2", "_cpu"])
def test_code_for_old_cpus_holds_no_avx_instruction(module: str) -> None:
    if module != "_cpu" and "x86_64_v2" not in _isa.built():
        pytest.skip("x86_64_v2 is not part of this build (LSTMCORE_ISAS)")
    listing = _disassembly(module)
    assert len(listing.splitlines()) > 100
    found = AVX.search(listing)
    assert found is None, listing[max(0, found.start() - 200) : found.end() + 200] if found else ""


@pytest.mark.skipif(not IS_X86, reason="AVX is of x86-64")
@pytest.mark.parametrize(("name", "register"), [("x86_64_v3", "%ymm"), ("x86_64_v4", "%zmm")])
def test_code_for_new_cpus_uses_their_registers(name: str, register: str) -> None:
    if name not in _isa.built():
        pytest.skip(f"{name} is not part of this build (LSTMCORE_ISAS)")
    listing = _disassembly(f"_core_{name}")
    assert listing.count(register) > 100
    assert AVX.search(listing)
    assert name == "x86_64_v4" or "%zmm" not in listing
