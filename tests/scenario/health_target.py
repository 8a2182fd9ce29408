#!/usr/bin/env python3
"""A target of health checks that misbehaves when told.

  health_target.py MODE_FILE [CERT KEY]

Serves HTTP (HTTPS with CERT and KEY) on a free port of 127.0.0.1, which it prints. What it does is
the first word of MODE_FILE, looked at for each connection:

  a number   answers with that status
  garbage    answers with bytes that are no HTTP
  large      answers 200 and a megabyte
  slow-head  sends the answer's head a byte a second
  slow-body  sends the head of a 200 at once, and its body a byte a second
  nothing    accepts and is silent
  close      accepts and closes
  closed     closes the listener; the next word opens it again
  escape     answers 200 and control characters
"""
import socket
import ssl
import sys
import threading
import time


def mode():
    with open(sys.argv[1], encoding="ascii") as file:
        return (file.read().split() or ["nothing"])[0]


def answer(status, body=b"fine\n"):
    head = f"HTTP/1.1 {status} Because\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def drip(connection, data):
    for byte in data:
        connection.sendall(bytes([byte]))
        time.sleep(1)


def serve(connection, tls):
    connection.settimeout(30)
    try:
        if tls is not None:
            connection = tls.wrap_socket(connection, server_side=True)
        what = mode()
        if what == "close":
            return
        connection.recv(65536)
        if what.isdigit():
            connection.sendall(answer(what))
        elif what == "garbage":
            connection.sendall(b"\x00\xff\x1b[31mnot HTTP at all\r\n\r\n")
        elif what == "large":
            connection.sendall(answer(200, b"x" * 1_000_000))
        elif what == "slow-head":
            drip(connection, answer(200))
        elif what == "slow-body":
            head, body = answer(200, b"y" * 60).split(b"y", 1)
            connection.sendall(head)
            drip(connection, body)
        elif what == "escape":
            connection.sendall(answer(200, b"\x1b[2J\x1b]0;owned\x07\r\nlevel=error msg=forged\n"))
        else:
            time.sleep(30)
    except OSError:
        pass
    finally:
        try:
            connection.close()
        except OSError:
            pass


def listen(port):
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    listener.settimeout(0.02)
    return listener


def main():
    tls = None
    if len(sys.argv) == 4:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(sys.argv[2], sys.argv[3])
    listener = listen(0)
    port = listener.getsockname()[1]
    print(port, flush=True)
    while True:
        if mode() == "closed":
            if listener is not None:
                listener.close()
                listener = None
            time.sleep(0.02)
            continue
        if listener is None:
            listener = listen(port)
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        connection.setblocking(True)
        threading.Thread(target=serve, args=(connection, tls), daemon=True).start()


main()
