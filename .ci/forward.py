#!/usr/bin/env python3
"""What a port_forward carries over, for .ci/examples: this plays the client and the target, which listens on TARGET.

    .ci/forward.py FORWARDER TARGET
"""
import os
import socket
import struct
import sys
import time

FORWARDER, TARGET = int(sys.argv[1]), int(sys.argv[2])
BYTES = os.urandom(1 << 20)
socket.setdefaulttimeout(30)


def client():
    return socket.create_connection(("127.0.0.1", FORWARDER))


def pair(listener):
    here = client()
    there, _ = listener.accept()
    return here, there


def read_all(end):
    return b"".join(iter(lambda: end.recv(1 << 16), b""))


def reset(end):
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def is_reset(attempt):
    try:
        attempt()
        return False
    except ConnectionResetError:
        return True


def check(holds, what):
    if not holds:
        sys.exit(f"forward.py: {what}")


def half_close(first, second):
    """The one ends its stream, and hears the other one all the same."""
    first.sendall(b"hello")
    first.shutdown(socket.SHUT_WR)
    check(read_all(second) == b"hello", "bytes and the end of the stream arrive")
    second.sendall(BYTES)
    second.shutdown(socket.SHUT_WR)
    check(read_all(first) == BYTES, "the other direction goes on")


def stalled(sender, reader):
    """Nobody reads: after so much the sender is blocked, and nothing is lost."""
    sender.setblocking(False)
    sent, last = 0, time.monotonic()
    while time.monotonic() < last + 0.3:
        try:
            sent += sender.send(BYTES)
            last = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
        check(sent < 64 << 20, "the sender is never blocked")
    sender.setblocking(True)
    sender.shutdown(socket.SHUT_WR)
    check(len(read_all(reader)) == sent, f"all of {sent} bytes arrive")


check(is_reset(lambda: client().recv(1)), "a client whose target refuses is reset")
with socket.create_server(("127.0.0.1", TARGET)) as listener:
    here, there = pair(listener)
    half_close(here, there)
    here, there = pair(listener)
    half_close(there, here)
    here, there = pair(listener)
    reset(here)
    check(is_reset(lambda: there.recv(1)), "a client's reset is carried over")
    here, there = pair(listener)
    reset(there)
    check(is_reset(lambda: here.recv(1)), "a target's reset is carried over")
    here, there = pair(listener)
    stalled(here, there)
    here, there = pair(listener)
    stalled(there, here)
