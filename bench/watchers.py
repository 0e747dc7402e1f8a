"""Many watchers of one server: what they cost it, and how long after a commit each of them knows.

usage: watchers.py http://127.0.0.1:PORT TOKEN WATCHERS FOLDER FILES

Opens WATCHERS event streams, then drops FILES files into FOLDER one after another, and waits after each until every
watcher was told that it was collected. Prints JSON: the delays in milliseconds from the commit, as the event tells it, to
the last byte of the event at the watcher; `connected` once all have had their first event, on a line of its own.

It shares its cores with the server that it measures, so it does as little as it can for each event: one thread, epoll, and
an event that all are told is read as JSON once.
"""

import json
import os
import resource
import select
import socket
import sys
import time

url, token, watchers, folder, files = sys.argv[1:6]
watchers, files = int(watchers), int(files)
host, port = url.removeprefix("http://").split(":")
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, watchers + 512), hard))
request = f"GET /api/v1/events HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
# What a chunk of an event ends with: the line feeds of the event, and the line break of the chunk (RFC 9112, 7.1).
END = b"\n\n\r\n"

poll = select.epoll()
streams, began = {}, {}
delays = {}
# What the last event told: the same bytes for all.
last, told = b"", []


def recents(event):
    global last, told
    if event != last:
        data = [line[6:] for line in event.split(b"\n") if line.startswith(b"data: ") and b'"recent"' in line]
        last, told = event, [(one["name"], one["at"]) for line in data for one in json.loads(line).get("recent", ())]
    return told


def look(seconds):
    for number, _ in poll.poll(seconds):
        stream, before, seen = streams[number]
        piece = stream.recv(1 << 20)
        now = time.time() * 1000
        if not piece:
            raise ConnectionError("a stream ended")
        whole = before + piece
        if not whole.endswith(END):
            streams[number][1] = whole
            continue
        streams[number][1] = b""
        if b"data: " in whole:
            began[number] = True
        for name, at in recents(whole):
            if name not in seen:
                seen.add(name)
                delays.setdefault(name, []).append(now - at)


def until(what, holds):
    deadline = time.time() + 60
    while not holds():
        if time.time() > deadline:
            raise TimeoutError(f"waited in vain: {what}")
        look(0.1)


for number in range(watchers):
    stream = socket.create_connection((host, int(port)))
    stream.sendall(request)
    stream.setblocking(False)
    streams[stream.fileno()] = [stream, b"", set()]
    poll.register(stream, select.EPOLLIN)
    # Not more at a time than the server's backlog takes.
    if number % 100 == 99:
        until("the first events", lambda: len(began) == len(streams))
until("the first events", lambda: len(began) == len(streams))
print("connected", flush=True)
sys.stdin.readline()
for number in range(files):
    name = f"seen-{number}.txt"
    hidden = os.path.join(folder, f".{name}")
    with open(hidden, "w") as file:
        file.write(f"{number}\n")
    os.rename(hidden, os.path.join(folder, name))
    until(f"all are told of {name}", lambda: len(delays.get(name, ())) == watchers)
    quiet = time.time() + 0.3
    while time.time() < quiet:
        look(0.05)
every = sorted(delay for name in delays if name.startswith("seen-") for delay in delays[name])
at = lambda part: every[min(len(every) - 1, int(len(every) * part))]
print(json.dumps({"p50": at(0.5), "p99": at(0.99), "longest": every[-1], "told": len(every)}), flush=True)
