"""How many threads: the user's word, else what the container leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import lstmcore
from lstmcore import _threads


@pytest.fixture(autouse=True)
def _restore_threads():
    yield
    lstmcore.set_num_threads(None)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_set_num_threads_is_obeyed(n: int) -> None:
    lstmcore.set_num_threads(n)
    assert lstmcore.get_num_threads() == n


def test_none_and_zero_restore_the_default() -> None:
    default = lstmcore.get_num_threads()
    assert default >= 1
    for restore in (None, 0):
        lstmcore.set_num_threads(default + 1)
        lstmcore.set_num_threads(restore)
        assert lstmcore.get_num_threads() == default


@pytest.mark.parametrize(("n", "error"), [(-1, ValueError), (2**31, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_bad_numbers_raise_and_are_quoted(n, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"^n must be .*{n}"):
        lstmcore.set_num_threads(n)


def test_true_is_not_a_number() -> None:
    with pytest.raises(TypeError, match="got True"):
        lstmcore.set_num_threads(True)


def test_omp_num_threads_is_the_default(run_python) -> None:
    done = run_python("import lstmcore; print(lstmcore.get_num_threads())", OMP_NUM_THREADS="3")
    assert done.stdout.strip() == "3"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


_FORK = """
import os, warnings
import numpy as np
import lstmcore

lstmcore.set_num_threads(2)
layer = lstmcore.LSTM(64, 128, seed=0)
x = np.random.default_rng(0).standard_normal((50, 32, 64), dtype=np.float32)
expected = layer(x)[0]
child = os.fork()
if child == 0:
    code = 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        same = all(np.array_equal(layer(x)[0], expected) for _ in range(3))
        told = [str(w.message) for w in caught if w.category is RuntimeWarning]
        code = 0 if same and len(told) == 1 and "forked" in told[0] and lstmcore.get_num_threads() == 1 else 2
    os._exit(code)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), np.array_equal(layer(x)[0], expected))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_computes_on_one_thread_and_says_so_once(run_python) -> None:
    assert run_python(_FORK, OMP_NUM_THREADS="2").stdout.split() == ["0", "True"]


def test_cgroup_v2_takes_the_smallest_of_a_group_and_its_parents(tmp_path: Path) -> None:
    _write(tmp_path / "a/b/cpu.max", "max 100000\n")
    _write(tmp_path / "a/cpu.max", "150000 100000\n")
    assert _threads.cgroup_cpus("0::/a/b\n", tmp_path) == 1.5


def test_cgroup_v2_of_a_container_that_does_not_see_its_own_path(tmp_path: Path) -> None:
    _write(tmp_path / "cpu.max", "400000 100000\n")
    assert _threads.cgroup_cpus("0::/../../docker/4f2a\n", tmp_path) == 4


def test_cgroup_v1(tmp_path: Path) -> None:
    _write(tmp_path / "cpu,cpuacct/job/cpu.cfs_quota_us", "50000\n")
    _write(tmp_path / "cpu,cpuacct/job/cpu.cfs_period_us", "100000\n")
    groups = "5:memory:/job\n4:cpu,cpuacct:/job\n1:name=systemd:/job\n"
    assert _threads.cgroup_cpus(groups, tmp_path) == 0.5


@pytest.mark.parametrize("contents", ["max 100000", "", "nonsense", "-1 100000", "0 0"])
def test_no_quota(tmp_path: Path, contents: str) -> None:
    _write(tmp_path / "cpu.max", contents)
    assert _threads.cgroup_cpus("0::/\n", tmp_path) is None


def test_the_quota_caps_the_default_but_not_the_users_word(monkeypatch: pytest.MonkeyPatch) -> None:
    class Core:
        default = None

        def set_default_threads(self, n: int) -> None:
            self.default = n

    core = Core()
    monkeypatch.setattr(_threads, "core", core)
    monkeypatch.setattr(_threads, "cgroup_cpus", lambda _groups: 1.5)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    _threads._cap_default_threads()
    assert core.default is None
    for nothing in ("", "many", "0"):
        monkeypatch.setenv("OMP_NUM_THREADS", nothing)
        core.default = None
        _threads._cap_default_threads()
        assert core.default == 2
