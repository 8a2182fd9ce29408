"""musterd with standard streams that are closed, that nobody reads, or whose reader is gone: it
serves, expires and stops as ever.

usage: standard_streams_test.py BIN_DIR
"""
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

BIN = sys.argv[1]
SETPIPE_SZ = 1031


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def muster(port, *words, check=True):
    return subprocess.run([f"{BIN}/muster", "--addr", f"127.0.0.1:{port}", *words], check=check,
                          capture_output=True, text=True, timeout=30)


def instances(port):
    return muster(port, "discover", "web", check=False).stdout.count("10.0.0.1:80")


def serve(redirections, stdout, stderr, while_it_runs):
    """Starts it by a shell with these redirections, and stops it with SIGTERM."""
    port = free_port()
    with tempfile.TemporaryDirectory() as data:
        server = subprocess.Popen(
            ["/bin/sh", "-c", f'exec "$0" "$@" {redirections}', f"{BIN}/musterd", "--data-dir",
             f"{data}/data", "--grpc-listen", f"127.0.0.1:{port}", "--http-listen", "off",
             "--dns-listen", "off"], stdout=stdout, stderr=stderr)
        try:
            end = time.monotonic() + 20
            while "serving" not in muster(port, "status", check=False).stdout:
                assert server.poll() is None, (redirections, server.returncode)
                assert time.monotonic() < end, "it doesn't serve"
            while_it_runs(port)
            server.send_signal(signal.SIGTERM)
            # 5 s are for calls under way.
            code = server.wait(timeout=5)
            assert code == 0, (redirections, code)
        finally:
            server.kill()
            server.wait()


def log_and_register(port):
    muster(port, "log-level", "debug")
    muster(port, "register", "--ttl", "1m", "web", "10.0.0.1:80")
    assert instances(port) == 1


def log_much(port):
    """More than the pipe takes: from then on nobody may wait for it."""
    for _ in range(60):
        muster(port, "log-level", "info")
    muster(port, "register", "--ttl", "1s", "web", "10.0.0.1:80")
    end = time.monotonic() + 10
    while instances(port) > 0:
        assert time.monotonic() < end, "its lease doesn't end"
        time.sleep(0.1)


def main():
    null = subprocess.DEVNULL
    serve("2>&-", null, null, log_and_register)
    serve(">&-", null, null, log_and_register)
    serve("<&- >&- 2>&-", null, null, log_and_register)
    reader, writer = os.pipe()
    os.close(reader)
    serve("", writer, writer, log_and_register)
    os.close(writer)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, SETPIPE_SZ, 4096)
    serve("", null, writer, log_much)
    os.close(reader)
    os.close(writer)
    with open("/dev/full", "w", encoding="ascii") as full:
        for words in (["--version"], ["--print-config"]):
            code = subprocess.run([f"{BIN}/musterd", *words], stdout=full, timeout=30,
                                  check=False).returncode
            assert code == 1, (words, code)


main()
