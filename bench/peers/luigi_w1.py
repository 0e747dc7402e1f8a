"""W1 on Luigi: forty tasks in sequence, each calling fibonacci(10), each with a file as its output, on the local scheduler.

Usage: luigi_w1.py FOLDER RUNS

Prints one JSON object with the milliseconds of each run. Kept: a file a step, not synced.
"""

import json
import os
import sys
import time

import luigi

STEPS = 40
DATA = "the quick brown fox jumps over the lazy dog\n"


def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


class Step(luigi.Task):
    folder = luigi.Parameter()
    number = luigi.IntParameter()

    def requires(self):
        return [Step(folder=self.folder, number=self.number - 1)] if self.number > 1 else []

    def output(self):
        return luigi.LocalTarget(os.path.join(self.folder, f"step{self.number:02}.txt"))

    def run(self):
        if self.number > 1:
            with self.input()[0].open() as file:
                data = file.read()
        else:
            data = DATA
        fibonacci(10)
        with self.output().open("w") as file:
            file.write(data)


def main() -> None:
    scratch, runs = sys.argv[1], int(sys.argv[2])
    times = []
    for run in range(-1, runs):  # the first one warms up
        folder = os.path.join(scratch, f"luigi-{run}")
        os.mkdir(folder)
        begin = time.perf_counter()
        fine = luigi.build([Step(folder=folder, number=STEPS)], local_scheduler=True, log_level="ERROR")
        took = (time.perf_counter() - begin) * 1000
        with open(os.path.join(folder, f"step{STEPS:02}.txt")) as file:
            if not fine or file.read() != DATA or len(os.listdir(folder)) != STEPS:
                sys.exit("Luigi did not bring the data through all steps")
        if run >= 0:
            times.append(took)
    json.dump({"ms": times}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
