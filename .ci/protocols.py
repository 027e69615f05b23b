"""The protocols that the example servers speak, as one well-behaved client sees them: a talk says what to send, and
looks at every byte that comes back.

Asking gives pieces to be sent, and the talk then is owed an answer. `hear` ends the campaign when a byte is not what it
must be; `owed` counts the answers that have not come in full.
"""
import collections
import os
import random
import re
import sys

# What is sent is made of these: large messages then need no memory, and every process knows what to expect.
PIECE = 65536
PIECES = [os.urandom(PIECE) for _ in range(8)]
# So few that a key-value server has few keys.
SIZES = [1, 17, 100, 900, 4000]


def check(holds, what):
    if not holds:
        sys.exit(f"FAILED: {what}")


class Talk:
    """A protocol whose answers are known to the byte when the question is asked."""

    # How often a second the server wakes up without anybody asking for anything.
    ticks = 0

    def __init__(self, name):
        self.name = name
        # What is still to come: pieces, and whether each ends an answer.
        self.due = collections.deque()
        self.at, self.owed, self.heard = 0, 0, 0

    def open(self):
        """The pieces with which the client begins."""
        return []

    def is_open(self):
        return True

    def ask(self, size):
        """The pieces of a question, the answer to which has about `size` bytes."""
        raise NotImplementedError

    def ask_much(self, size):
        """As `ask`, for so many bytes that they must not all be in memory at once."""
        return self.ask(size)

    def expect(self, *pieces):
        self.due.extend((piece, False) for piece in pieces[:-1])
        self.due.append((pieces[-1], True))
        self.owed += 1

    def hear(self, part):
        self.heard += len(part)
        while part:
            check(self.due, f"{self.name} hears what it has not asked for: {part[:60]}")
            piece, is_last = self.due[0]
            count = min(len(piece) - self.at, len(part))
            check(piece[self.at:self.at + count] == part[:count],
                  f"{self.name} hears other bytes, {part[:60]} instead of {piece[self.at:][:60]}")
            part, self.at = part[count:], self.at + count
            if self.at == len(piece):
                self.due.popleft()
                self.at, self.owed = 0, self.owed - is_last

    @staticmethod
    def meet(talks):
        """They are all open, and none has asked for anything."""

    @staticmethod
    def agree(talks):
        """Whether what each has heard from the others is all there was."""
        return True


class Echo(Talk):
    def ask(self, size):
        start = random.randrange(PIECE - size)
        message = random.choice(PIECES)[start:start + size]
        self.expect(message)
        return [message]

    def ask_much(self, size):
        pieces = random.choices(PIECES, k=size // PIECE)
        self.expect(*pieces)
        return pieces


class HandOver(Echo):
    """An echo behind a line that says who serves."""

    def __init__(self, name):
        super().__init__(name)
        self.line = bytearray()

    def is_open(self):
        return self.line.endswith(b"\n")

    def hear(self, part):
        if not self.is_open():
            line, end, part = part.partition(b"\n")
            self.line += line + end
            check(len(self.line) < 100, f"{self.name} is greeted with {self.line}")
            check(not end or re.fullmatch(rb"worker \d+ serves you\n", self.line), f"{self.name} is greeted with {self.line}")
        super().hear(part)


class Http(Talk):
    BLOCK = b"The quick brown fox jumps over the lazy dog, 0123456789 times.\r\n" * 1024

    def ask(self, size):
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {size}\r\n\r\n"
        whole, rest = divmod(size, len(self.BLOCK))
        self.expect(head.encode(), *[self.BLOCK] * whole, *[self.BLOCK[:rest]] * (rest > 0))
        return [f"GET /bytes/{size} HTTP/1.1\r\nHost: here\r\n\r\n".encode()]


class Redis(Talk):
    # It looks for what has expired every 100 ms.
    ticks = 10

    def ask(self, size):
        """Sets a value and gets it. It belongs to its key, so that others may do the same."""
        which = random.randrange(len(PIECES))
        key, value = f"{which}-{size}".encode(), PIECES[which][:size]
        self.expect(b"+OK\r\n$%d\r\n" % size, value, b"\r\n")
        return [b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n" % (len(key), key, size), value, b"\r\n" + self.get(key)]

    def ask_much(self, size):
        value = PIECES[:4]
        length = PIECE * len(value)
        self.expect(b"+OK\r\n")
        pieces = [b"*3\r\n$3\r\nSET\r\n$4\r\nmuch\r\n$%d\r\n" % length, *value, b"\r\n"]
        for _ in range(size // length):
            self.expect(b"$%d\r\n" % length, *value, b"\r\n")
            pieces.append(self.get(b"much"))
        return pieces

    @staticmethod
    def get(key):
        return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key)


class Chat(Talk):
    """A member of a chat room. What it says is heard by the others; what answers it is the complaint about a command
    that there is not."""

    LETTERS = "abcdefghijklmnopqrstuvwxyz" * 40
    COMPLAINT = b"! commands are /nick NAME, /who and /quit"

    def __init__(self, name):
        super().__init__(name)
        self.line, self.lines, self.said, self.opened = b"", 0, 0, False
        # The number of the next line of each of the others; lines left out, of those that the server has confessed.
        self.next, self.skipped, self.missed = {}, 0, 0

    def open(self):
        return [self.name.encode() + b"\n"]

    def is_open(self):
        return self.opened

    def ask(self, size):
        size = min(size, 900)
        line = f"{self.said} {size} {self.LETTERS[:size]}\n/?\n".encode()
        self.said += 1
        self.owed += 1
        return [line]

    def ask_much(self, size):
        count = size // (len(self.COMPLAINT) + 1)
        self.owed += count
        return [b"/?\n" * 1000] * (count // 1000) + [b"/?\n" * (count % 1000)]

    def hear(self, part):
        self.heard += len(part)
        *lines, self.line = (self.line + part).split(b"\n")
        check(len(self.line) < 2000, f"{self.name} hears a line without end: {self.line[:60]}")
        for line in lines:
            if line == self.COMPLAINT:
                check(self.owed > 0, f"{self.name} is told of a mistake that it has not made")
                self.owed -= 1
            else:
                self.hear_line(line.decode())
            self.lines += 1

    def hear_line(self, line):
        if self.lines == 0:
            check(line == "* what is your name?", f"{self.name} is greeted with {line}")
        elif line == f"* you are {self.name}":
            check(not self.opened, f"{self.name} is seated twice")
            self.opened = True
        elif told := re.fullmatch(r"\* you read too slowly, and missed (\d+) lines", line):
            self.missed += int(told[1])
        elif said := re.fullmatch(r"([-\w]+): (\d+) (\d+) ([a-z]*)", line):
            speaker, number, size = said[1], int(said[2]), int(said[3])
            check(said[4] == self.LETTERS[:size], f"{self.name} hears other words: {line[:60]}")
            self.hear_number(speaker, number)
        else:
            check(re.fullmatch(r"\* [-\w]+ (joined|left: .*)", line), f"{self.name} hears '{line[:60]}'")

    def hear_number(self, speaker, number):
        following = self.next.get(speaker, number)
        self.skipped += number - following
        check(number >= following, f"{self.name} hears line {number} of {speaker} after line {following - 1}")
        check(self.skipped <= self.missed, f"{self.name} has heard {following} lines of {speaker}, and now line {number}")
        self.next[speaker] = number + 1

    @staticmethod
    def meet(talks):
        for talk in talks:
            talk.next = {other.name: 0 for other in talks if other is not talk}

    @staticmethod
    def agree(talks):
        said = {talk.name: talk.said for talk in talks}
        return all(talk.lacks(said) <= talk.missed - talk.skipped for talk in talks)

    def lacks(self, said):
        """How many of the lines that were said have not come."""
        return sum(count - self.next.get(name, 0) for name, count in said.items() if name != self.name)


TALKS = {"chat_server": Chat, "http_hello": Http, "redis_lite": Redis, "hand_over": HandOver}


def protocol(name):
    """What the server of this name speaks."""
    return TALKS.get(name.split()[0], Echo)
