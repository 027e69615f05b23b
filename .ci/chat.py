#!/usr/bin/env python3
"""People in a chat_server, for .ci/examples.

    .ci/chat.py PORT everybody       20 people say 200 numbered lines each: all hear all, in order; one is killed half-way
    .ci/chat.py PORT slow-skip       one does not read: what it hears in the end and what it is told to have missed
                                     is all there was
    .ci/chat.py PORT slow-drop       one does not read: it is dropped
"""
import re
import socket
import struct
import sys

PORT = int(sys.argv[1])
PEOPLE, LINES = 20, 200
socket.setdefaulttimeout(30)


class Person:
    def __init__(self, name, receive_buffer=None):
        self.name = name
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", PORT))
        self.lines = self.socket.makefile("rb")
        self.say(name)
        self.hear(f"* you are {name}")

    def say(self, *lines):
        self.socket.sendall("".join(line + "\n" for line in lines).encode())

    def next(self):
        line = self.lines.readline()
        if not line:
            sys.exit(f"chat.py: {self.name} was disconnected")
        return line.decode().rstrip("\n")

    def hear(self, wanted):
        """Skips what comes before."""
        while not self.next().startswith(wanted):
            pass

    def die(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.lines.close()
        self.socket.close()


def check(holds, what):
    if not holds:
        sys.exit(f"chat.py: {what}")


def everybody():
    people = [Person(f"p{number}") for number in range(PEOPLE)]
    for person in people[:-1]:
        person.hear(f"* p{PEOPLE - 1} joined")
    victim, others = people[0], people[1:]
    for line in range(LINES):
        for person in people:
            person.say(str(line))
        if line == LINES // 2:
            victim.die()
            people = others
    for listener in others:
        heard = {person.name: 0 for person in others + [victim]}
        left = False
        while not left or any(n < LINES for name, n in heard.items() if name not in (listener.name, victim.name)):
            line = listener.next()
            left = left or line.startswith(f"* {victim.name} left: ")
            if not line.startswith("* p"):
                name, number = line.split(": ")
                check(int(number) == heard[name], f"{listener.name} heard '{line}' after {heard[name]} lines")
                heard[name] += 1
        check(heard[listener.name] == 0, "nobody hears itself")


def flood():
    """More than the kernel's buffers and the server's queue hold, for one who does not read."""
    stone, talker = Person("stone", 4096), Person("talker")
    total = 10_000
    for number in range(0, total, 100):
        talker.say(*(f"{line} {'x' * 900}" for line in range(number, number + 100)))
    talker.say("/who")
    return stone, talker, total


def slow_skip():
    stone, talker, total = flood()
    talker.hear("* here are: stone, talker")
    heard = missed = 0
    while heard + missed < total:
        line = stone.next()
        if told := re.fullmatch(r"\* you read too slowly, and missed (\d+) lines", line):
            missed += int(told[1])
        elif line.startswith("talker: "):
            check(int(line.split()[1]) == heard + missed, f"'{line[:20]}' after {heard} heard and {missed} missed")
            heard += 1
    check(missed > 0, "nothing was left out: is this a slow reader?")
    talker.say("the end")
    stone.hear("talker: the end")
    print(f"a slow reader heard {heard} lines and missed {missed}")


def slow_drop():
    _stone, talker, _total = flood()
    talker.hear("* stone left: the peer reads too slowly")
    talker.hear("* here are: talker")


{"everybody": everybody, "slow-skip": slow_skip, "slow-drop": slow_drop}[sys.argv[2]]()
