"""W1 on DBOS: a workflow of forty steps in sequence, each calling fibonacci(10), each checkpointed to SQLite, its default.

Usage: dbos_w1.py FOLDER RUNS

Prints one JSON object with the milliseconds of each run.
"""

import json
import os
import sys
import time

STEPS = 40
DATA = "the quick brown fox jumps over the lazy dog\n"


def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def main() -> None:
    scratch, runs = os.path.abspath(sys.argv[1]), int(sys.argv[2])
    from dbos import DBOS

    url = f"sqlite:///{os.path.join(scratch, 'dbos.sqlite')}"
    DBOS(config={"name": "w1-steps", "system_database_url": url, "log_level": "ERROR", "run_admin_server": False})

    @DBOS.step()
    def step(data: str) -> str:
        fibonacci(10)
        return data

    @DBOS.workflow()
    def w1(data: str) -> str:
        for _ in range(STEPS):
            data = step(data)
        return data

    DBOS.launch()
    times = []
    for run in range(-3, runs):  # the first ones warm up
        begin = time.perf_counter()
        result = w1(DATA)
        took = (time.perf_counter() - begin) * 1000
        if result != DATA:
            sys.exit(f"DBOS made {result!r} of the data")
        if run >= 0:
            times.append(took)
    steps = len(DBOS.list_workflow_steps(DBOS.list_workflows()[0].workflow_id))
    if steps != STEPS:
        sys.exit(f"DBOS kept {steps} steps instead of {STEPS}")
    DBOS.destroy()
    json.dump({"ms": times}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
