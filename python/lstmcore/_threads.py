"""How many threads to use: what the user asks for, else the CPUs that this process may really use.

OpenMP itself obeys ``OMP_NUM_THREADS`` and the affinity mask. It does not know the CPU quota of a container, and
threads beyond the quota are stopped in the middle of their work, so the default is capped by it here.
"""

from __future__ import annotations

import math
import operator
import os
from pathlib import Path

from lstmcore._isa import core

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_asked: int | None = None  # by set_num_threads


def set_num_threads(n: int | None) -> None:
    """Set the number of threads that the kernels may use.

    Small work runs on one thread whatever the number. Results have the same bits for any number.

    Parameters
    ----------
    n : int or None
        At least 1; None or 0 for the default: ``OMP_NUM_THREADS`` if set, else the CPUs that the affinity mask and the
        CPU quota of the process's cgroup leave.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is negative, or too large for a C int.
    """
    if n is None:
        n = 0
    if isinstance(n, bool):
        raise TypeError(f"n must be an integer or None, got {n!r}")
    try:
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"n must be an integer or None, got {n!r}") from None
    if not 0 <= count < 2**31:
        raise ValueError(f"n must be at least 1, or 0 or None for the default, got {n!r}")
    core.set_num_threads(count)
    global _asked
    _asked = count or None


def get_num_threads() -> int:
    """Return the number of threads that the kernels may use."""
    return int(core.get_num_threads())


def why() -> str:
    """Return what decides the number of threads."""
    if _asked is not None:
        return "set_num_threads"
    if (variable := _variable()) is not None:
        return f"OMP_NUM_THREADS={variable}"
    cpus = cgroup_cpus(_read(Path("/proc/self/cgroup")))
    limit = "" if cpus is None else f", at most {max(1, math.ceil(cpus))} by the cgroup's CPU quota"
    return f"the CPUs that this process may use{limit}"


def _variable() -> str | None:
    """Return ``OMP_NUM_THREADS``, such as "4" or "4,2", or None where OpenMP makes nothing of it."""
    value = os.environ.get("OMP_NUM_THREADS", "")
    first = value.partition(",")[0].strip()
    return value if first.isdecimal() and int(first) > 0 else None


def cgroup_cpus(proc_cgroup: str, root: Path = _CGROUP_ROOT) -> float | None:
    """Return the CPU quota of a control group in CPUs, or None if it has none.

    Parameters
    ----------
    proc_cgroup : str
        Contents of ``/proc/self/cgroup``: lines "id:controllers:path"; version 2 has no controllers.
    root : Path
        Where the control group file system is mounted.

    Returns
    -------
    float or None
        The smallest quota of the group and its parents.
    """
    quotas = []
    for line in proc_cgroup.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            quotas += [_quota_v2(folder) for folder in _and_parents(root, path)]
        elif "cpu" in controllers.split(","):
            quotas += [_quota_v1(folder) for folder in _and_parents(root / controllers, path)]
            quotas += [_quota_v1(folder) for folder in _and_parents(root / "cpu", path)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _and_parents(mount: Path, path: str) -> list[Path]:
    """Return the folder of a group and those of its parents up to the mount.

    Inside a container the path may be one of the host's that is not mounted: then only the mount itself is found.
    """
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _quota_v2(folder: Path) -> float | None:
    fields = _read(folder / "cpu.max").split()  # "max 100000" or "150000 100000", in µs
    return _ratio(fields[0], fields[1]) if len(fields) == 2 else None


def _quota_v1(folder: Path) -> float | None:
    return _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))  # quota -1: none


def _ratio(quota: str, period: str) -> float | None:
    try:
        quota_us, period_us = int(quota), int(period)
    except ValueError:
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _cap_default_threads() -> None:
    if _variable() is not None:
        return  # the user's word
    cpus = cgroup_cpus(_read(Path("/proc/self/cgroup")))
    if cpus is not None:
        core.set_default_threads(max(1, math.ceil(cpus)))


_cap_default_threads()
