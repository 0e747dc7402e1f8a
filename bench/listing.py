"""Lists datasets with searches, filters and orders, so many times a second, and prints how long each answer took.

usage: listing.py http://127.0.0.1:PORT TOKEN RATE SECONDS

Requests are sent at their times whether or not earlier ones were answered, and timed from then on: a server that falls
behind is not spared (no coordinated omission). Prints JSON: milliseconds, and how many of each status there were.
"""

import asyncio
import json
import random
import sys
import time
import urllib.parse

url, token, rate, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
host, port = url.removeprefix("http://").split(":")
# The same questions in each run, none of them twice in a row.
choose = random.Random(20261127)
SORTS = ["name", "-name", "committed", "-committed", "size", "-size"]


def question():
    number = choose.randrange(1_000_000)
    asked = {"limit": 50, "sort": choose.choice(SORTS)}
    kind = choose.randrange(5)
    if kind == 0:
        asked["q"] = f"{number:06}"
    elif kind == 1:
        asked["q"] = f"before {number % 1000:03}"
    elif kind == 2:
        asked["collection"] = "Before"
    elif kind == 3:
        asked["q"] = str(number % 10)
    return "/api/v1/datasets?" + urllib.parse.urlencode(asked)


class Connection:
    async def ask(self, path):
        if getattr(self, "writer", None) is None:
            self.reader, self.writer = await asyncio.open_connection(host, int(port), limit=1 << 22)
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        await self.reader.readexactly(length)
        return status


async def main():
    free, took, statuses = [], [], {}

    async def one(due, path):
        connection = free.pop() if free else Connection()
        status = await connection.ask(path)
        free.append(connection)
        took.append((time.perf_counter() - due) * 1000)
        statuses[status] = statuses.get(status, 0) + 1

    begin, tasks = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        due = begin + number / rate
        await asyncio.sleep(max(0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due, question())))
    await asyncio.gather(*tasks)
    took.sort()
    at = lambda part: took[min(len(took) - 1, int(len(took) * part))]
    print(json.dumps({"p50": at(0.5), "p99": at(0.99), "longest": took[-1], "statuses": statuses}))


asyncio.run(main())
