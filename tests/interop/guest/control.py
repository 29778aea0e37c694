#!/usr/bin/python3
"""Runs the shell commands that come over the control connection, one per connection.

A request is the length of the command in a line, and the command. The answer is its output (standard error too), each
line behind a "|", and then its status in a line. Whoever hangs up before that ends the command.
"""
import os
import signal
import socket
import subprocess
import threading


def serve(connection):
    stream = connection.makefile("rb")
    command = stream.read(int(stream.readline()))
    # Programs of others write line by line, as coreutils' stdbuf would make them.
    environment = dict(os.environ, LD_PRELOAD="/usr/libexec/coreutils/libstdbuf.so", _STDBUF_O="L")
    child = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, start_new_session=True, cwd="/tmp", env=environment)

    def until_hung_up():
        stream.read(1)
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    threading.Thread(target=until_hung_up, daemon=True).start()
    try:
        for line in child.stdout:
            connection.sendall(b"|" + line.rstrip(b"\n") + b"\n")
        connection.sendall(b"%d\n" % (child.wait() & 255))
    except OSError:
        child.wait()
    connection.close()


listener = socket.create_server(("169.254.77.2", 77))
# The socket stays in the control network; all that is started from here on is in that of the links.
os.setns(os.open("/proc/1/ns/net", os.O_RDONLY), os.CLONE_NEWNET)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
