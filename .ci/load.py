#!/usr/bin/env python3
"""The steady load of .ci/examples: every round sends one message on each connection, then reads them
all back and compares. One thread and a fixed order, so that two runs differ only in their number of rounds.

    .ci/load.py HOST PORT CONNECTIONS ROUNDS SIZE
"""
import os
import socket
import sys


def main():
    host, (port, connections, rounds, size) = sys.argv[1], map(int, sys.argv[2:6])
    socket.setdefaulttimeout(60)
    clients = [socket.create_connection((host, port)) for _ in range(connections)]
    for client in clients:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    messages = [os.urandom(size) for _ in clients]
    for _ in range(rounds):
        for client, message in zip(clients, messages):
            client.sendall(message)
        for client, message in zip(clients, messages):
            if client.recv(size, socket.MSG_WAITALL) != message:
                sys.exit("load.py: what came back is not what was sent")


main()
