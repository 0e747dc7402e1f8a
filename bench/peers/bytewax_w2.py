"""W2 on bytewax: items through three maps that return their input, collected by batches, a file of lines each.

Usage: bytewax_w2.py COUNT BATCH FOLDER

Prints one JSON object with the seconds it took, without the start of Python. The source hands items over by 1,000, as
bytewax's own guide advises; singly it takes about a hundred times as long. Nothing is durable: no recovery store is set up.
"""

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import TestingSource, run_main

sys.path.append(str(Path(__file__).parent.parent))
import items


class Files(StatelessSinkPartition):
    def __init__(self, folder: str) -> None:
        self.folder, self.number = folder, 0

    def write_batch(self, batches) -> None:
        for _, held in batches:
            with open(os.path.join(self.folder, f"batch-{self.number:05}.txt"), "wb") as file:
                file.write(b"\n".join(held) + b"\n")
            self.number += 1


class Folder(DynamicSink):
    def __init__(self, folder: str) -> None:
        self.folder = folder

    def build(self, step_id, worker_index, worker_count):
        return Files(self.folder)


def process(data: bytes) -> bytes:
    return data


def main() -> None:
    count, batch, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    flow = Dataflow("w2")
    stream = op.input("source", flow, TestingSource(map(items.numbered, range(count)), batch_size=1_000))
    for stage in ("one", "two", "three"):
        stream = op.map(stage, stream, process)
    keyed = op.key_on("key", stream, lambda _: "all")
    batches = op.collect("batch", keyed, timedelta(seconds=60), batch)
    op.output("files", batches, Folder(folder))
    begin = time.perf_counter()
    run_main(flow)
    json.dump({"seconds": time.perf_counter() - begin}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
