"""What the campaigns share: a built release example as a server, what /proc says about it, and clients on loopback."""
import atexit
import contextlib
import os
import pathlib
import random
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

from protocols import check, protocol

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLES = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "examples"
SERVERS = ["readiness_echo", "async_echo", "echo_server"]
# All example servers, those included that speak something else than echo.
ALL_SERVERS = [*SERVERS, "echo_server --threads 2", "hand_over", "port_forward", "chat_server", "http_hello", "redis_lite"]
TICKS = os.sysconf("SC_CLK_TCK")
# A campaign that hangs is a failure; the alarm ends it.
LONGEST = 300


def campaign(run, servers=SERVERS):
    """Calls run(name) for the servers of the command line, or for all that are built. A name may have options."""
    random.seed(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    for name in sys.argv[1:] or servers:
        if not (EXAMPLES / name.split()[0]).exists():
            if sys.argv[1:] or os.environ.get("REQUIRE_ALL"):
                sys.exit(f"{name} is not built: cargo build --release --examples")
            print(f"skipped: {name} (not built)")
            continue
        signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"FAILED: {name}: not done after {LONGEST} s"))
        signal.alarm(LONGEST)
        try:
            run(name)
        except OSError as error:
            # Whatever it is that does not work with a server that should be there.
            place = traceback.extract_tb(error.__traceback__)[-1]
            sys.exit(f"FAILED: {name}: {error} (in {place.name}, line {place.lineno})")
        signal.alarm(0)
        print(f"ok: {name}", flush=True)


def until(holds, seconds):
    """Waits until holds() and says whether it did in time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def allow_descriptors(count):
    hard = max(count, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


# Without what glibc keeps for each thread of what was freed: a few such pieces, high up in the heap, keep all that is
# below them from the system, and what is measured would be luck.
ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}


class Server:
    """An example on a free port of 127.0.0.1, killed with this process at the latest. A port_forward has an echo server
    of its own behind it."""

    def __init__(self, name, *arguments, descriptors=20_000, behind="readiness_echo", behind_descriptors=20_000,
                 **environment):
        self.name, (program, *options) = name, name.split()
        self.behind, target = None, []
        if program == "port_forward":
            self.behind = Server(behind, descriptors=behind_descriptors, **environment)
            target = ["%s:%d" % self.behind.address]
        self.output, self.errors = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [EXAMPLES / program, "127.0.0.1:0", *target, *options, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.errors,
            env=os.environ | ALLOCATOR | environment,
            preexec_fn=lambda: allow_descriptors(descriptors),
        )
        atexit.register(self.process.kill)
        until(lambda: "\n" in self.stdout() or self.process.poll() is not None, 10)
        found = re.match(r"listening on (.*):(\d+)\n", self.stdout())
        check(found, f"{name}: no listening line but {self.stdout()!r}; stderr: {self.stderr()}")
        self.address = (found[1], int(found[2]))
        # What it holds without a client, once it has had the first and is at rest again.
        self.answers()
        time.sleep(0.2)
        self.first_descriptors, self.first_resident = self.descriptors(), self.resident()

    def proc(self, path):
        return pathlib.Path(f"/proc/{self.process.pid}/{path}")

    def descriptors(self):
        return len(list(self.proc("fd").iterdir()))

    def resident(self):
        """Resident memory in KiB."""
        return self.kibibytes("VmRSS")

    def peak(self):
        """The most that was ever resident, in KiB."""
        return self.kibibytes("VmHWM")

    def kibibytes(self, field):
        found = re.search(rf"{field}:\s+(\d+)", self.proc("status").read_text())
        check(found, f"{self.name} has ended with {self.process.poll()}: {self.stderr()}")
        return int(found[1])

    def ticks(self):
        """How often a second it wakes up though nobody asks for anything."""
        return protocol(self.name).ticks

    def wakeups(self):
        """How often its threads went to sleep by themselves: a loop that rests does not add to it."""
        statuses = (task / "status" for task in self.proc("task").iterdir())
        return sum(int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", s.read_text())[1]) for s in statuses)

    def cpu(self):
        """User and system time in seconds."""
        fields = self.proc("stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stdout(self):
        self.output.seek(0)
        return self.output.read()

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read()

    def answers(self):
        """One client after all the others, as the proof of life."""
        talk = protocol(self.name)("life")
        with connect(self) as client:
            client.sendall(b"".join(talk.open() + talk.ask(100)))
            while talk.owed or not talk.is_open():
                part = client.recv(65536)
                check(part, f"{self.name} no longer answers")
                talk.hear(part)

    def gave_back(self, slack):
        """Checks that what the clients cost is given back: every descriptor, and memory up to `slack` KiB."""
        back = until(lambda: self.descriptors() <= self.first_descriptors, 20)
        descriptors, resident = self.descriptors(), self.resident()
        print(f"  at the end {descriptors} descriptors (start {self.first_descriptors}), "
              f"{resident} KiB resident (start {self.first_resident})")
        check(back, f"{self.name}: descriptors are not given back")
        check(resident <= self.first_resident + slack, f"{self.name}: more than {slack} KiB are not given back")
        if self.behind:
            self.behind.gave_back(slack)

    def stop(self):
        self.answers()
        self.process.terminate()
        status = self.process.wait(10)
        check("panicked" not in self.stderr(), f"{self.name} panicked: {self.stderr()}")
        # The bare example and the one by hand have no signal handling: SIGTERM is then what ends them.
        expected = -signal.SIGTERM if self.name in ("readiness_echo", "hand_over") else 0
        check(status == expected, f"{self.name}: exit status {status}; {self.stderr()}")
        if self.behind:
            self.behind.stop()


def connect(server, source=None, blocking=True, receive_buffer=None):
    """A client of the server, from 127.0.0.`source` when one address has too few ports."""
    client = socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(60)
    if source is not None:
        client.bind((f"127.0.0.{source}", 0))
    client.connect(server.address)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.setblocking(blocking)
    if blocking:
        client.settimeout(60)
    return client


def receive(client, size):
    """Exactly `size` bytes, fewer only at the end of the stream."""
    parts = bytearray()
    while len(parts) < size:
        part = client.recv(size - len(parts))
        if not part:
            break
        parts += part
    return bytes(parts)


def reset(client):
    """Closes with a reset instead of a FIN."""
    with contextlib.suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
