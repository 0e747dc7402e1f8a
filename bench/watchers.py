"""Many watchers of one server: what they cost it, and how long after a commit each of them knows.

usage: watchers.py http://127.0.0.1:PORT TOKEN WATCHERS FOLDER FILES

Opens WATCHERS event streams, then drops FILES files into FOLDER one after another, and waits after each until every
watcher was told that it was collected. Prints JSON: the delays in milliseconds from the commit, as the event tells it, to
the last byte of the event at the watcher; `connected` once all have had their first event, on a line of its own.
"""

import asyncio
import json
import os
import resource
import sys
import time

url, token, watchers, folder, files = sys.argv[1:6]
watchers, files = int(watchers), int(files)
host, port = url.removeprefix("http://").split(":")
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, watchers + 512), hard))


class Watcher:
    def __init__(self):
        self.first = asyncio.Event()
        self.seen = {}

    async def watch(self):
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 22)
        writer.write(
            f"GET /api/v1/events HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        while True:
            line = await reader.readline()
            if not line:
                raise ConnectionError("the stream ended")
            if line.startswith(b"data: "):
                now = time.time() * 1000
                self.first.set()
                # Only what this measures is read: thousands of these share one core with the server.
                if b'"recent"' in line:
                    for recent in json.loads(line[6:]).get("recent", ()):
                        self.seen.setdefault(recent["name"], now - recent["at"])


async def main():
    all_watchers = [Watcher() for _ in range(watchers)]
    tasks = []
    for start in range(0, watchers, 100):
        batch = all_watchers[start : start + 100]
        tasks += [asyncio.create_task(one.watch()) for one in batch]
        await asyncio.wait_for(asyncio.gather(*(one.first.wait() for one in batch)), 60)
    print("connected", flush=True)
    sys.stdin.readline()
    delays = []
    for number in range(files):
        name = f"seen-{number}.txt"
        hidden = os.path.join(folder, f".{name}")
        with open(hidden, "w") as file:
            file.write(f"{number}\n")
        os.rename(hidden, os.path.join(folder, name))
        deadline = time.time() + 60
        while not all(name in one.seen for one in all_watchers):
            if time.time() > deadline:
                missing = sum(name not in one.seen for one in all_watchers)
                raise TimeoutError(f"{missing} watchers were not told of {name}")
            await asyncio.sleep(0.02)
        delays += [one.seen[name] for one in all_watchers]
        await asyncio.sleep(0.3)
    for task in tasks:
        task.cancel()
    delays.sort()
    at = lambda part: delays[min(len(delays) - 1, int(len(delays) * part))]
    print(json.dumps({"p50": at(0.5), "p99": at(0.99), "longest": delays[-1], "told": len(delays)}), flush=True)


asyncio.run(main())
