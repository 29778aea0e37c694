#!/usr/bin/python3
"""The peer's application over the kernel's SCTP: one association, every byte of which can be told from every other.

  peer.py echo PORT               return every message on its stream, with its payload protocol identifier and order
  peer.py take PORT               read numbered messages, compare every byte, say how many came and how it ended
  peer.py talk PORT PEER...       send numbered messages to an echo and compare what comes back
  peer.py send PORT PEER...       send numbered messages
  peer.py meet PORT PEER...       bind PORT, connect to the same PORT of the peer, then as "take"

A message is a function of its number and length; tests/support/payload.rs makes the same. With several PEERs the set-up
is sctp_connectx(3). Options: --local ADDR (repeatable), --messages N, --length N, --interval SECONDS, --end close|abort|wait
(wait: until the peer ends).
"""
import argparse
import errno
import socket
import struct
import sys
import time

SOL_SCTP, EVENTS, BINDX_ADD, CONNECTX, NODELAY = 132, 11, 100, 110, 3
SNDRCV, UNORDERED, MSG_NOTIFICATION = 1, 1, 0x8000
INFO = struct.Struct("=HHH2xIIIIIi")
PPID = 1_000_003
LENGTH_MAX = 1 << 17
WHERE = bytes((at ^ (at >> 8)) & 255 for at in range(LENGTH_MAX))


def say(*words):
    print(*words, flush=True)


def pattern(number, length):
    start = number * 131
    mix = (start ^ (start >> 8)) & 255
    return WHERE[:length].translate(bytes(byte ^ mix for byte in range(256)))


def addresses(names, port):
    """A packed list, as bindx and connectx take it."""
    packed = b""
    for name in names:
        if ":" in name:
            packed += struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, 0)
            packed += socket.inet_pton(socket.AF_INET6, name) + bytes(4)
        else:
            packed += struct.pack("=H", socket.AF_INET) + struct.pack("!H", port)
            packed += socket.inet_pton(socket.AF_INET, name) + bytes(8)
    return packed


def endpoint(options, port):
    names = options.local + options.peers
    family = socket.AF_INET6 if not names or ":" in names[0] else socket.AF_INET
    endpoint = socket.socket(family, socket.SOCK_STREAM, SOL_SCTP)
    endpoint.setsockopt(SOL_SCTP, EVENTS, b"\1" + bytes(13))
    endpoint.setsockopt(SOL_SCTP, NODELAY, 1)
    # One-to-one sockets are set up with four streams, as many as the tests use.
    endpoint.setsockopt(SOL_SCTP, 2, struct.pack("=HHHH", 10, 10, 0, 0))
    if options.local:
        endpoint.setsockopt(SOL_SCTP, BINDX_ADD, addresses(options.local, port))
    elif port:
        endpoint.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
    return endpoint


def connected(options, local_port):
    association = endpoint(options, local_port)
    try:
        association.setsockopt(SOL_SCTP, CONNECTX, addresses(options.peers, options.port))
    except OSError as error:
        # The status that it returns, the identifier of the association, is none to Python; only errors are.
        say("not connected:", errno.errorcode.get(error.errno, error.errno))
        sys.exit(1)
    say("up")
    return association


def accepted(options):
    listener = endpoint(options, options.port)
    listener.listen(5)
    say("listening")
    association = listener.accept()[0]
    association.setsockopt(SOL_SCTP, EVENTS, b"\1" + bytes(13))
    association.setsockopt(SOL_SCTP, NODELAY, 1)
    say("up")
    return association


def receive(association):
    """The next message and what is told of it; None at the end."""
    message = b""
    while True:
        piece, told, flags, _ = association.recvmsg(1 << 17, 256)
        if flags & MSG_NOTIFICATION:
            continue
        if not piece and not told:
            return None
        message += piece
        if flags & socket.MSG_EOR:
            return message, INFO.unpack(told[0][2][:INFO.size])


def send(association, message, stream=0, unordered=0, ppid=socket.htonl(PPID)):
    info = INFO.pack(stream, 0, unordered, ppid, 0, 0, 0, 0, 0)
    association.sendmsg([message], [(SOL_SCTP, SNDRCV, info)])


def end(association, how):
    if how == "abort":
        association.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif how == "wait":
        while receive(association):
            pass
        say("closed")
    association.close()


def echo(association, options):
    while came := receive(association):
        message, (stream, _, flags, ppid, *_) = came
        send(association, message, stream, flags & UNORDERED, ppid)
    say("closed")


def take(association, options):
    number = total = 0
    while came := receive(association):
        message, _ = came
        if message != pattern(number, len(message)):
            say("message", number, "differs")
            sys.exit(1)
        number, total = number + 1, total + len(message)
        if number == options.messages and options.end != "wait":
            break
    say("took", number, "messages,", total, "bytes")
    if came is None:
        say("closed")
    end(association, "close" if came is None else options.end)


def talk(association, options):
    for number in range(options.messages):
        length = options.length or 1 + number * 97 % 5000
        sent = pattern(number, length)
        send(association, sent, number % 3, number % 5 == 4)
        message, (stream, _, flags, ppid, *_) = receive(association)
        if (message, stream, flags & UNORDERED) != (sent, number % 3, number % 5 == 4):
            say("message", number, "differs")
            sys.exit(1)
        time.sleep(options.interval)
    say("talked")
    end(association, options.end)


def send_all(association, options):
    for number in range(options.messages):
        send(association, pattern(number, options.length or 1 + number * 97 % 5000))
        time.sleep(options.interval)
    say("sent")
    end(association, options.end)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["echo", "take", "talk", "send", "meet"])
    parser.add_argument("port", type=int)
    parser.add_argument("peers", nargs="*", default=[])
    parser.add_argument("--local", action="append", default=[])
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--length", type=int, default=0)
    parser.add_argument("--interval", type=float, default=0)
    parser.add_argument("--end", choices=["close", "abort", "wait"], default="close")
    options = parser.parse_args()
    work = {"echo": echo, "take": take, "meet": take, "talk": talk, "send": send_all}[options.mode]
    if options.mode == "meet":
        association = connected(options, options.port)
    else:
        association = connected(options, 0) if options.peers else accepted(options)
    try:
        work(association, options)
    except OSError as error:
        say("aborted:", errno.errorcode.get(error.errno, error.errno))


main()
