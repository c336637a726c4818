"""What this machine can do, and how near to it our layers come on one thread.

    python bench/machine.py [--fresh] [--only lstm] [--largest 600] [--rounds 5]

Measures float32 multiply-adds of each instruction set and reads from each level of the memory, on one core and on all.
Then it prints for each shape the roofline bound, the least time that the machine allows, beside the time that is
reached. Whatever a pass does, it must
- compute its two, in training five, matrix products: operations ÷ peak (not dx: a first layer does not need it);
- read the recurrent weights U once a step, in training also backward: bytes ÷ bandwidth of the level that holds U;
- read them once for each tile of rows that the registers hold: bytes ÷ bandwidth of the level that holds one panel.
W can be shared by many steps, so it counts only where there is a single one. Activations are not counted: at small
hidden sizes they are what is left between the bound and the time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from shapes import GATES, SEQUENCES, SINGLE_STEPS, Shape

import lstmcore
from lstmcore import _isa
from lstmcore.layers import Recurrent

SOURCE = Path(__file__).resolve().parent
BUILD = SOURCE.parent / "build" / "bench"
RECORD = BUILD / "machine.json"
VALID_SECONDS = 24 * 3600.0

REGISTERS = {"x86_64_v2": 16, "x86_64_v3": 16, "x86_64_v4": 32, "aarch64": 32}
LANES = {"x86_64_v2": 4, "x86_64_v3": 8, "x86_64_v4": 16, "aarch64": 4}

Run = Callable[[], object]
Machine = dict[str, Any]


# ---- measuring ------------------------------------------------------------------------------------------------------


def cpu_name() -> str:
    """Return the processor's name; virtual machines say little in it, so family and model follow."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    if "model name" not in fields:
        return " ".join(
            [platform.machine(), *(fields[key] for key in ("CPU implementer", "CPU part") if key in fields)]
        )
    return f"{fields['model name']} (family {fields.get('cpu family')}, model {fields.get('model')})"


def caches() -> dict[str, int]:
    """Return the bytes of one data cache of each level, L1 first."""
    sizes = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text(encoding="ascii").strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            sizes[f"L{level}"] = int(size.rstrip("KM")) << {"K": 10, "M": 20}.get(size[-1], 0)
    for level, name in (("L1", "LEVEL1_DCACHE_SIZE"), ("L2", "LEVEL2_CACHE_SIZE"), ("L3", "LEVEL3_CACHE_SIZE")):
        if not sizes.get(level) and os.sysconf_names.get(f"SC_{name}") and os.sysconf(f"SC_{name}") > 0:
            sizes[level] = os.sysconf(f"SC_{name}")
    return dict(sorted(sizes.items()))


def build() -> None:
    """Compile machine.cpp for every instruction set of the architecture."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    cmake, ninja = shutil.which("cmake", path=path), shutil.which("ninja", path=path)
    if cmake is None:
        raise SystemExit("cmake is needed to build bench/machine.cpp: pip install cmake")
    options = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    configure = [
        cmake,
        "-S",
        str(SOURCE),
        "-B",
        str(BUILD),
        f"-DPython_EXECUTABLE={sys.executable}",
        *options,
    ]
    for command in (configure, [cmake, "--build", str(BUILD)]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{done.stdout}\n{done.stderr}")


def rate(isa: str, *arguments: object) -> float:
    """Return what the program of one instruction set measures."""
    command = [str(BUILD / f"machine_{isa}"), *map(str, arguments)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def read_sizes(threads: int) -> dict[str, int]:
    """Return for each level the bytes that each thread reads: they fit it, and no level above it."""
    sizes = caches()
    bytes_read = {level: size // 2 for level, size in sizes.items()}
    if "L3" in sizes:  # shared, on a virtual machine with strangers too
        bytes_read["L3"] = max(2 * sizes.get("L2", 0), sizes["L3"] // (4 * threads))
    return {**bytes_read, "DRAM": max(256 << 20, 4 * max(sizes.values(), default=0)) // threads}


def measure(fresh: bool = False) -> Machine:
    """Return this machine's peaks and bandwidths, measured anew if the record is of another machine or a day old.

    Returns
    -------
    dict
        "peak_gflops" and "peak_gflops_all": float32 multiply-adds, two operations each, by instruction set, on one core
        and on all; "bandwidth_gbs" and "bandwidth_gbs_all": reads, by level; "caches": bytes of each; "cpu"; "threads".
    """
    cpu, threads = cpu_name(), len(os.sched_getaffinity(0))
    if not fresh and RECORD.exists() and time.time() - RECORD.stat().st_mtime < VALID_SECONDS:
        record: Machine = json.loads(RECORD.read_text(encoding="utf-8"))
        if (record["cpu"], record["threads"]) == (cpu, threads):
            return record
    build()
    best = _isa.supported()[0]
    machine: Machine = {"cpu": cpu, "threads": threads, "caches": caches()}
    for suffix, n in (("", 1), ("_all", threads)):
        machine["peak_gflops" + suffix] = {isa: rate(isa, "fma", n) for isa in reversed(_isa.supported())}
        machine["bandwidth_gbs" + suffix] = {
            level: rate(best, "read", n, size) for level, size in read_sizes(n).items()
        }
    RECORD.write_text(json.dumps(machine, indent=2) + "\n", encoding="utf-8")
    return machine


def show(machine: Machine) -> None:
    """Print what was measured."""
    sizes = ", ".join(f"{level} {size >> 10} KiB" for level, size in machine["caches"].items())
    print(f"{machine['cpu']}; caches: {sizes}")
    print(f"{'':18} {'one core':>10} {'all cores':>10}")
    for quantity, unit in (("peak_gflops", "GFLOP/s"), ("bandwidth_gbs", "GB/s")):
        for name, value in machine[quantity].items():
            print(f"{name:10} {unit:7} {value:10.1f} {machine[quantity + '_all'][name]:10.1f}")


# ---- timing ---------------------------------------------------------------------------------------------------------


def seconds(run: Run, repeats: int) -> float:
    """Return the time of one call, from `repeats` of them."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def medians(runs: list[Run], rounds: int, at_least: float = 0.01) -> list[float]:
    """Return each run's median time of a call, all of them in turns; a round lasts `at_least` seconds."""
    repeats = []
    for run in runs:
        run()
        repeats.append(max(1, math.ceil(at_least / max(min(seconds(run, 1), seconds(run, 1)), 1e-7))))
    times = [[seconds(run, n) for run, n in zip(runs, repeats, strict=True)] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def layer_of(shape: Shape, **options: Any) -> Recurrent:
    """Return a layer of a shape."""
    layer: Recurrent = getattr(lstmcore, shape.cell.upper())(shape.input_size, shape.hidden_size, seed=0, **options)
    return layer


def training_step(layer: Recurrent, x: np.ndarray, dy: np.ndarray) -> None:
    """Run forward and backward of a first layer, after a change of its weights."""
    layer.parameters_changed()
    layer.forward(x)
    layer.backward(dy, need_dx=False)


# ---- roofline -------------------------------------------------------------------------------------------------------


def bounds(work: str, shape: Shape, machine: Machine, isa: str) -> dict[str, float]:
    """Return the least seconds that each resource of one core allows, by its name."""
    features, hidden, batch, steps = shape.input_size, shape.hidden_size, shape.batch, shape.steps
    gates = GATES[shape.cell]
    passes, share = (2, 2 + hidden / (features + hidden)) if work == "train" else (1, 1.0)
    k = hidden if steps > 1 else features + hidden
    vectors = gates * (1 if gates >= 3 else 4 // gates)  # of a row in a tile, as in include/lstmcore/panel.hpp
    tiles = math.ceil(batch / min(8, REGISTERS[isa] * 3 // 4 // vectors))
    panel = 4 * k * vectors * LANES[isa]
    weights = 4 * k * gates * math.ceil(hidden / LANES[isa]) * LANES[isa]

    def level(size: int) -> str:
        return next((name for name, capacity in machine["caches"].items() if size <= capacity), "DRAM")

    def reading(size: int, times: int) -> float:
        return size * times * passes * steps / (float(machine["bandwidth_gbs"][level(size)]) * 1e9)

    return {
        "FMA": share * shape.forward_flops / (machine["peak_gflops"][isa] * 1e9),
        f"{level(weights)} weights": reading(weights, 1),
        f"{level(panel)} panels": weights / panel * reading(panel, tiles),
    }


def runs(shape: Shape) -> Iterator[tuple[str, Run]]:
    """Yield the kinds of work of a shape, each with a call that does it."""
    layer = layer_of(shape)
    x, dy = shape.x(), shape.dy()
    if shape.steps == 1:
        x_t = x[0]
        _, state = layer.step(x_t)
        yield "step", lambda: layer.step(x_t, state)
    else:
        yield "infer", lambda: layer(x)
        yield "train", lambda: training_step(layer, x, dy)


def roofline(machine: Machine, shapes: list[Shape], rounds: int) -> None:
    """Print bound and time of each shape on one thread."""
    lstmcore.set_num_threads(1)
    isa = _isa.isa()
    print(f"\nRoofline: {isa}, one thread, float32; times are medians of calls from Python")
    print(f"{'work':6} {'cell':4} {'I':>5} {'H':>5} {'B':>4} {'T':>4} {'bound µs':>10} {'set by':>11}", end="")
    print(f" {'time µs':>10} {'GFLOP/s':>8} {'bound/time':>10}")
    for shape in shapes:
        for work, run in runs(shape):
            least = bounds(work, shape, machine, isa)
            name = max(least, key=least.__getitem__)
            (reached,) = medians([run], rounds)
            rate_reached = least["FMA"] * machine["peak_gflops"][isa] / reached
            print(f"{work:6} {shape} {least[name] * 1e6:10.2f} {name:>11} {reached * 1e6:10.2f}", end="")
            print(f" {rate_reached:8.1f} {least[name] / reached:10.0%}", flush=True)


def main() -> None:
    """Read the command line and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="measure the machine anew")
    parser.add_argument("--only", default="", help="shapes of one cell: lstm, gru or rnn")
    parser.add_argument("--largest", type=int, default=1 << 30, help="largest hidden size to run")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    machine = measure(options.fresh)
    show(machine)
    shapes = [
        shape
        for shape in (*SINGLE_STEPS, *SEQUENCES)
        if options.only in ("", shape.cell) and shape.hidden_size <= options.largest
    ]
    roofline(machine, shapes, options.rounds)


if __name__ == "__main__":
    main()
