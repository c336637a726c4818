"""Each library in a process of its own, which answers when it is its turn.

Thread pools spin for a while after their work is done (libgomp for about 10 ms, ONNX Runtime for about 40 ms), and
whoever computes meanwhile on as many threads as there are cores takes up to twice as long. So a process gives the
turn back only when it uses no more CPU, and then sleeps in a read from a pipe.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from fit import EPOCHS
from peers_layers import LIBRARIES, Run
from shapes import Task

TOLERANCE = {"fit": 0.3}  # of the largest absolute value, or of 1 if that is less; of the last loss of a fit


def seconds(run: Run, repeats: int) -> float:
    """Return the time of one call, from `repeats` of them."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def settle(window: float = 0.005, longest: float = 0.5) -> None:
    """Wait until all threads of this process sleep."""
    end = time.perf_counter() + longest
    while time.perf_counter() < end:
        used = time.process_time()
        time.sleep(window)
        if time.process_time() - used < 0.1 * window:
            return


def strangers(peers: list[Peer]) -> float:
    """Return the seconds of CPU that other processes have used, or a hypervisor has kept, since the machine started."""
    tick = os.sysconf("SC_CLK_TCK")
    user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text(encoding="ascii").split()[1:9])
    busy = (user + nice + system + sum(rest)) / tick
    for peer in peers:
        fields = Path(f"/proc/{peer.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        busy -= (int(fields[11]) + int(fields[12])) / tick
    return busy - time.process_time()


class Server:
    """The child's side: calls by task and name, and how often each is repeated to be measurable."""

    def __init__(self, library: str, threads: int) -> None:
        self.library = next(kind for kind in LIBRARIES if kind.name == library)(threads)
        self.runs: dict[Task, dict[str, Run]] = {}
        self.once: dict[Run, float] = {}

    def prepare(self, task: Task) -> dict[str, np.ndarray]:
        """Return the answer of each call."""
        self.runs[task] = self.library.prepare(task)
        answers = {name: np.array(run()) for name, run in self.runs[task].items()}
        for run in self.runs[task].values():
            self.once[run] = min(seconds(run, 1), seconds(run, 1))
        return answers

    def time(self, task: Task, name: str, at_least: float) -> float:
        """Return the time of one call; a short one is made once before, to wake the threads and fill the caches."""
        run = self.runs[task][name]
        if self.once[run] < 0.05:
            run()
        return seconds(run, max(1, math.ceil(at_least / self.once[run])))

    def forget(self) -> None:
        """Drop what was prepared."""
        self.runs.clear()
        self.once.clear()


def serve(connection: Connection, library: str, threads: int, isa: str) -> None:
    """Say when ready, then answer requests, a method of `Server` and its arguments, until the other side closes."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # before any library is imported
    if isa:
        os.environ["LSTMCORE_ISA"] = isa
    try:
        server, answer = Server(library, threads), None
        while True:
            settle()
            connection.send(answer)
            method, *arguments = connection.recv()
            answer = getattr(server, method)(*arguments)
    except EOFError:
        pass
    except Exception:
        connection.send(traceback.format_exc())


class Peer:
    """The parent's side of one library, and of one instruction set of ours."""

    def __init__(self, library: str, threads: int, isa: str = "") -> None:
        self.name, self.isa = library, isa
        self.works = next(kind for kind in LIBRARIES if kind.name == library).works
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, library, threads, isa), daemon=True)
        self.process.start()
        theirs.close()

    def answer(self) -> Any:
        """Wait for the child to be ready, or for its answer to a request."""
        answer = self.connection.recv()
        if isinstance(answer, str):
            raise SystemExit(f"{self.name} {self.isa}:\n{answer}")
        return answer

    def ask(self, *request: Any) -> Any:
        """Return the child's answer to a request."""
        self.connection.send(request)
        return self.answer()

    def label(self, run: str) -> str:
        """Name of a call beside those of other instruction sets."""
        return self.isa or run

    def close(self) -> None:
        """End the child."""
        self.connection.close()
        self.process.join()


class Contest:
    """A task in all libraries that can do it; ours come first, and the others must agree with them."""

    def __init__(self, task: Task, peers: list[Peer]) -> None:
        self.task, self.peers = task, peers
        self.turns: list[tuple[Peer, str]] = []
        expected: np.ndarray | None = None
        for peer in peers:
            if task.work not in peer.works:
                continue
            for run, answer in peer.ask("prepare", task).items():
                expected = answer if expected is None else expected
                error = np.abs(answer.reshape(expected.shape) - expected).max() / max(1.0, np.abs(expected).max())
                if not error < TOLERANCE.get(task.work, 1e-4):
                    raise SystemExit(f"{task}: {peer.label(run)} differs by {error}")
                self.turns.append((peer, run))
        self.times: dict[str, list[float]] = {peer.label(run): [] for peer, run in self.turns}

    def round(self, at_least: float, accept: bool) -> bool:
        """Let all take their turn; returns whether others left the machine alone. If not, the times may be dropped."""
        start, strange = time.perf_counter(), strangers(self.peers)
        times = {peer.label(run): peer.ask("time", self.task, run, at_least) for peer, run in self.turns}
        alone = strangers(self.peers) - strange < 0.03 + 0.1 * (time.perf_counter() - start)
        if alone or accept:
            for label, value in times.items():
                self.times[label].append(value)
        return alone

    def seconds(self, quantile: float) -> dict[str, float]:
        """Seconds of a call, of a fit of an epoch, by label."""
        parts = EPOCHS if self.task.work == "fit" else 1
        return {label: float(np.quantile(values, quantile)) / parts for label, values in self.times.items()}


def compare(
    tasks: list[Task], peers: list[Peer], rounds: int, at_least: float, quantile: float = 0.5
) -> tuple[list[dict[str, float]], int]:
    """Return the times of each task by label, medians or another quantile, and how many rounds others disturbed.

    The tasks have their rounds in turns too, so that a short disturbance spoils few rounds of each. A disturbed round
    is dropped and made again, up to `rounds` times.
    """
    contests = [Contest(task, peers) for task in tasks]
    waiting, disturbed = dict.fromkeys(contests, rounds), 0
    for attempt in range(2 * rounds):
        for contest, left in waiting.items():
            if left:
                accept = attempt >= rounds
                alone = contest.round(at_least, accept)
                waiting[contest] -= alone or accept
                disturbed += not alone
    for peer in peers:
        peer.ask("forget")
    return [contest.seconds(quantile) for contest in contests], disturbed
