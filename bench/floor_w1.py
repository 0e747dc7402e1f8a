"""Floors for W1: forty calls of fibonacci(10), with nothing around them.

Usage: floor_w1.py SCRATCH_DIR RUNS

Prints one JSON object: for each floor the times of all runs in milliseconds.

- one_process: the forty calls in this very process; nothing is kept.
- process_per_step: a new interpreter for each call; nothing is kept.
- commit_per_step: in this process, and each step's result is committed to SQLite (WAL, synchronous=FULL).
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time

STEPS = 40
DATA = b"the quick brown fox jumps over the lazy dog\n"

# What the process-per-step floor runs; without `site` (-S) an interpreter starts soonest, so that the floor is strict.
CHILD = """
import sys
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
data = sys.stdin.buffer.read()
fibonacci(10)
sys.stdout.buffer.write(data)
"""


def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def step(data: bytes) -> bytes:
    fibonacci(10)
    return data


def one_process() -> bytes:
    data = DATA
    for _ in range(STEPS):
        data = step(data)
    return data


def process_per_step() -> bytes:
    data = DATA
    for _ in range(STEPS):
        data = subprocess.run([sys.executable, "-I", "-S", "-c", CHILD], input=data, capture_output=True, check=True).stdout
    return data


def commit_per_step(journal: sqlite3.Connection, run: int) -> bytes:
    data = DATA
    for number in range(STEPS):
        data = step(data)
        journal.execute("BEGIN IMMEDIATE")
        journal.execute("INSERT INTO step (run, number, result) VALUES (?, ?, ?)", (run, number, data))
        journal.execute("COMMIT")
    return data


def timed(work) -> float:
    """Milliseconds that `work` took; its result must be the data it began with."""
    begin = time.perf_counter()
    result = work()
    took = (time.perf_counter() - begin) * 1000
    if result != DATA:
        sys.exit(f"the floor computed {result!r} instead of {DATA!r}")
    return took


def main() -> None:
    scratch, runs = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        journal = sqlite3.connect(os.path.join(folder, "journal.db"), isolation_level=None)
        journal.execute("PRAGMA journal_mode=WAL")
        journal.execute("PRAGMA synchronous=FULL")
        journal.execute("CREATE TABLE step (run INTEGER, number INTEGER, result BLOB, PRIMARY KEY (run, number))")
        times: dict[str, list[float]] = {"one_process": [], "process_per_step": [], "commit_per_step": []}
        one_process()  # the first pass specialises the bytecode; servers are warm too
        for run in range(runs):
            times["one_process"].append(timed(one_process))
            times["process_per_step"].append(timed(process_per_step))
            times["commit_per_step"].append(timed(lambda: commit_per_step(journal, run)))
        kept = journal.execute("SELECT count(*) FROM step").fetchone()[0]
        if kept != runs * STEPS:
            sys.exit(f"{kept} steps were committed instead of {runs * STEPS}")
        journal.close()
    json.dump(times, sys.stdout)
    print()


if __name__ == "__main__":
    main()
