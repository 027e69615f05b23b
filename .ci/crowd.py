"""Clients that never block, for campaigns with many of them, and a load of well-behaved ones in a process of its own."""
import atexit
import collections
import contextlib
import json
import mmap
import os
import random
import selectors
import signal
import socket
import struct
import sys
import time

from harness import check, connect
from protocols import SIZES, protocol

# Nothing has come for so long though it was asked for: lost, whatever a loaded machine does.
LOST = 20


class Client:
    """One connection, and what is said on it."""

    def __init__(self, server, name, receive_buffer=None):
        self.talk = protocol(server.name)(name)
        self.socket = connect(server, blocking=False, receive_buffer=receive_buffer)
        self.unsent, self.ended = collections.deque(self.talk.open()), False

    def ask(self, size):
        self.unsent.extend(self.talk.ask(size))

    def ask_much(self, size):
        self.unsent.extend(self.talk.ask_much(size))

    def send(self, limit=None):
        """What there is room for, or up to `limit` bytes of it; says whether any byte went."""
        sent = 0
        try:
            while self.unsent and (limit is None or sent < limit):
                piece = self.unsent.popleft()
                # An error leaves all of it unsent.
                self.unsent.appendleft(piece)
                count = self.socket.send(piece if limit is None else piece[:limit - sent])
                sent += count
                self.unsent[0] = piece[count:]
                if count == len(piece):
                    self.unsent.popleft()
        except BlockingIOError:
            pass
        return sent > 0

    def receive(self, size=65536):
        """What is there, up to `size` bytes of it; says how many came."""
        try:
            part = self.socket.recv(size)
        except BlockingIOError:
            return 0
        except ConnectionError as error:
            sys.exit(f"FAILED: {self.talk.name}: {error}, with {self.talk.owed} answers owed")
        self.ended = self.ended or not part
        self.talk.hear(part)
        return len(part)

    def is_content(self):
        return self.talk.is_open() and not self.unsent and not self.talk.owed

    def end(self):
        self.socket.shutdown(socket.SHUT_WR)


def serve(clients, done, seconds=LOST, also=()):
    """Sends and receives for the clients until done(); fails when nothing has moved for so many seconds. Looks at
    whatever else is to be waited for, too."""
    selector = selectors.DefaultSelector()
    watched = {}
    for client in clients:
        watched[client] = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0)
        selector.register(client.socket, watched[client], client)
    for other in also:
        selector.register(other, selectors.EVENT_READ)
    moved = time.monotonic()
    while not done():
        moving = False
        for key, events in selector.select(0.1):
            client = key.data
            if client is None:
                continue
            if events & selectors.EVENT_READ:
                moving = client.receive() > 0 or client.ended or moving
            if events & selectors.EVENT_WRITE:
                moving = client.send() or moving
            wanted = (0 if client.ended else selectors.EVENT_READ) | (selectors.EVENT_WRITE if client.unsent else 0)
            if wanted != watched[client]:
                watched[client] = wanted
                if wanted:
                    selector.modify(client.socket, wanted, client)
                else:
                    selector.unregister(client.socket)
        now = time.monotonic()
        moved = now if moving else moved
        if now > moved + seconds:
            waiting = [client for client in clients if not client.is_content()]
            check(False, f"nothing comes for {seconds} s, and {len(waiting)} of {len(clients)} clients wait, the first "
                         f"for {waiting[0].talk.owed if waiting else 0} answers")
    selector.close()


def content(clients):
    return lambda: all(client.is_content() for client in clients)


def finish(clients):
    """They get the rest of their answers, end, and see the end of the stream; then all of it was right."""
    kind = type(clients[0].talk)
    talks = [client.talk for client in clients]
    serve(clients, lambda: content(clients)() and kind.agree(talks))
    for client in clients:
        client.end()
    serve(clients, lambda: all(client.ended for client in clients))
    for client in clients:
        check(client.is_content(), f"{client.talk.name}: the end, with answers owed")
        client.socket.close()


class Load:
    """Well-behaved clients in a process of their own, under way until `finish`. In every round each asks for something
    and all are answered; every byte is looked at."""

    PAUSE = 0.002

    def __init__(self, server, clients=8, name="w", much=0):
        self.shared = mmap.mmap(-1, 16)
        self.ends, ending = os.pipe()
        report, self.report = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(ending)
            os.close(report)
            self.run(server, clients, name, much)
        os.close(self.ends)
        os.close(self.report)
        self.ending, self.report = ending, os.fdopen(report)
        self.running = True
        atexit.register(self.kill)
        self.goes_on()

    # In the process of its own.

    def run(self, server, clients, name, much):
        signal.alarm(0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        status = 1
        try:
            random.seed(os.getpid())
            told = self.go_on([Client(server, f"{name}{number}") for number in range(clients)], much)
            status = 0
        except SystemExit as end:
            told = str(end.code)
        except BaseException as error:
            told = f"FAILED: {error!r}"
        os.write(self.report, json.dumps(told).encode())
        os._exit(status)

    def go_on(self, clients, much):
        serve(clients, content(clients))
        talks = [client.talk for client in clients]
        type(talks[0]).meet(talks)
        rounds, times, going = 0, [], selectors.DefaultSelector()
        going.register(self.ends, selectors.EVENT_READ)
        # The pipe becomes readable when `finish` says so, and when the campaign has ended.
        while not going.select(self.PAUSE):
            began = {}
            for client in clients:
                client.ask_much(much) if much else client.ask(random.choice(SIZES))
                began[client] = time.monotonic()
                client.send()
            waiting = set(clients)

            def answered():
                for client in [client for client in waiting if client.is_content()]:
                    waiting.remove(client)
                    took = time.monotonic() - began[client]
                    times.append(took)
                    self.note(took)
                return not waiting

            serve(clients, answered)
            rounds += 1
        finish(clients)
        times.sort()
        return {"rounds": rounds, "exchanges": len(times), "bytes": sum(talk.heard for talk in talks),
                "p99": times[len(times) * 99 // 100] * 1000, "longest": times[-1] * 1000,
                "missed": sum(getattr(talk, "missed", 0) for talk in talks)}

    def note(self, took):
        exchanges, longest = struct.unpack("Qd", self.shared[:])
        self.shared[:] = struct.pack("Qd", exchanges + 1, max(longest, took))

    # In the campaign.

    def exchanges(self):
        return struct.unpack("Qd", self.shared[:])[0]

    def goes_on(self, count=20, seconds=LOST):
        """Waits until so many more exchanges are done; says how long that took."""
        began, first = time.monotonic(), self.exchanges()
        while self.exchanges() < first + count:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                self.finish()
            check(time.monotonic() < began + seconds, f"the load has had {self.exchanges() - first} answers in {seconds} s")
            time.sleep(0.005)
        return time.monotonic() - began

    def signal(self, number):
        os.kill(self.pid, number)

    def stop(self):
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def finish(self):
        """Ends it, and says what it has done; fails if it has."""
        with contextlib.suppress(BrokenPipeError):  # It says why it has ended already.
            os.write(self.ending, b"end")
        told = json.load(self.report)
        os.waitpid(self.pid, 0)
        os.close(self.ending)
        self.running = False
        check(isinstance(told, dict), f"a well-behaved client was harmed: {str(told).removeprefix('FAILED: ')}")
        return told

    def kill(self):
        if self.running:
            os.kill(self.pid, signal.SIGKILL)


def told(report):
    """A report in words."""
    missed = f", {report['missed']} lines left out" if report["missed"] else ""
    return (f"{report['exchanges']} exchanges, {report['bytes'] / 2**20:.1f} MiB{missed}; p99 {report['p99']:.1f} ms, "
            f"longest {report['longest']:.0f} ms")
