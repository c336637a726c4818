"""Load on examples/serve_over_http.py: latencies and memory of its workers, users coming and going all the time.

python bench/serve.py: clients ask one after another, each over a connection of its own; a user's requests go to one
worker, as a balancer would send them. There are more users than places, so that states are parked and restored. The
load generator runs on the same cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "serve_over_http.py"


async def client(port: int, users: list[str], n: int, seed: int, latencies: list[float]) -> None:
    """Send n observations of random users, and add the seconds that each answer took."""
    draw = random.Random(seed)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(n):
        body = json.dumps({"x": [draw.gauss(0, 1) for _ in range(4)]})
        head = f"POST /step?user={draw.choice(users)} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        start = time.perf_counter()
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", answer)
        assert found is not None
        content = await reader.readexactly(int(found[1]))
        latencies.append(time.perf_counter() - start)
        assert answer.startswith(b"HTTP/1.1 200"), content
    writer.close()
    await writer.wait_closed()


async def load(args: argparse.Namespace, n: int, seed: int) -> tuple[list[float], float]:
    """Latencies of n requests to each worker by several clients at once, and how long all took."""
    latencies: list[float] = []
    users = [[f"user{i}" for i in range(k, args.users, args.workers)] for k in range(args.workers)]
    start = time.perf_counter()
    await asyncio.gather(
        *(
            client(args.port + k, users[k], n // args.clients, seed + 1000 * k + c, latencies)
            for k in range(args.workers)
            for c in range(args.clients)
        )
    )
    return latencies, time.perf_counter() - start


def resident(pid: int) -> float:
    """MiB that a process has in memory."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) / 1024


async def wait_for(port: int) -> None:
    """Return when something listens."""
    for _ in range(300):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        except OSError:
            await asyncio.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port}")


async def run(args: argparse.Namespace, pids: list[int]) -> None:
    """Put on load in rounds; print each."""
    for k in range(args.workers):
        await wait_for(args.port + k)
    print(f"before: {' '.join(f'{resident(pid):.1f}' for pid in pids)} MiB")
    print(f"{'requests':>9}{'a second':>10}{'p50 ms':>8}{'p99 ms':>8}   resident MiB of each worker")
    for i in range(args.rounds):
        latencies, seconds = await load(args, args.requests, i)
        latencies.sort()
        p50, p99 = (1e3 * latencies[int(share * len(latencies))] for share in (0.5, 0.99))
        memory = " ".join(f"{resident(pid):.1f}" for pid in pids)
        print(f"{len(latencies):9,}{len(latencies) / seconds:10,.0f}{p50:8.2f}{p99:8.2f}   {memory}", flush=True)


def main() -> None:
    """Start the service, put on load, end it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--room", type=int, default=500, help="places of each worker")
    parser.add_argument("--clients", type=int, default=4, help="at once, of each worker")
    parser.add_argument("--requests", type=int, default=10_000, help="to each worker in a round")
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()
    command = [sys.executable, str(EXAMPLE), "--workers", str(args.workers), "--port", str(args.port)]
    with subprocess.Popen([*command, "--room", str(args.room)], stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        pids = [int(service.stdout.readline().split()[1]) for _ in range(args.workers)]
        try:
            asyncio.run(run(args, pids))
        finally:
            for pid in pids:
                subprocess.run(["kill", str(pid)], check=False)
            service.wait()


if __name__ == "__main__":
    main()
