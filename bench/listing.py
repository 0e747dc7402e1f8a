"""Lists datasets with searches, filters and orders, so many times a second, and prints how long each answer took.

usage: listing.py http://127.0.0.1:PORT TOKEN RATE SECONDS SEED

The same seed asks the same questions. Requests are sent at their times whether or not earlier ones were answered, and
timed from then on: a server that falls behind is not spared (no coordinated omission). Prints JSON: milliseconds of each
answer, and how many of each status there were.
"""

import collections
import json
import random
import select
import socket
import sys
import time
import urllib.parse

url, token, rate, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
host, port = url.removeprefix("http://").split(":")
choose = random.Random(int(sys.argv[5]))
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
    """One question at a time, HTTP/1.1, kept open."""

    def __init__(self, poll):
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(self.socket, select.EPOLLIN)

    def ask(self, due, path):
        self.due, self.got, self.wanted = due, bytearray(), None
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )

    def read(self):
        """What is there; the status when that is all of the answer."""
        piece = self.socket.recv(1 << 20)
        assert piece, "the server closed a connection"
        self.got += piece
        if self.wanted is None and (end := self.got.find(b"\r\n\r\n")) >= 0:
            lines = bytes(self.got[:end]).lower().split(b"\r\n")
            self.status = int(lines[0].split(b" ")[1])
            length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
            self.wanted = end + 4 + length
        return self.status if self.wanted is not None and len(self.got) >= self.wanted else None


def main():
    poll, all_of_them = select.epoll(), {}
    # The one that waited longest is next, so that none is idle until the server closes it.
    free, took, statuses = collections.deque(), [], {}
    count, asked, begin = int(rate * seconds), 0, time.perf_counter()
    while len(took) < count:
        now = time.perf_counter()
        while asked < count and begin + asked / rate <= now:
            if not free:
                connection = Connection(poll)
                all_of_them[connection.socket.fileno()] = connection
                free.append(connection)
            free.popleft().ask(begin + asked / rate, question())
            asked += 1
        wait = max(0.0, begin + asked / rate - time.perf_counter()) if asked < count else 10
        for number, _ in poll.poll(wait):
            connection = all_of_them[number]
            status = connection.read()
            if status is not None:
                took.append((time.perf_counter() - connection.due) * 1000)
                statuses[status] = statuses.get(status, 0) + 1
                free.append(connection)
    print(json.dumps({"took": took, "statuses": statuses}))


main()
