"""musterd and muster as processes: what was acknowledged survives SIGKILL, and stopping is clean.

usage: restart_test.py BIN_DIR
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

BIN = sys.argv[1]


def start(data_dir, *flags):
    """A serving musterd and its address."""
    process = subprocess.Popen(
        [f"{BIN}/musterd", "--data-dir", data_dir, "--grpc-listen", "127.0.0.1:0",
         "--http-listen", "off", "--dns-listen", "off", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline().strip()
    assert line.startswith("ready grpc=127.0.0.1:"), (line, process.stderr.read())
    return process, line.removeprefix("ready grpc=")


def muster(address, *arguments):
    return subprocess.run([f"{BIN}/muster", "--addr", address, "-o", "json", *arguments],
                          capture_output=True, text=True, timeout=30, check=False)


def register(address, number):
    result = muster(address, "register", "api", f"10.0.0.1:{number}", "--ttl", "60s")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def main():
    with tempfile.TemporaryDirectory() as top:
        data_dir = os.path.join(top, "data")
        server, address = start(data_dir)
        first = [register(address, number) for number in range(1, 21)]
        assert all(answer["changed"] for answer in first)
        server.kill()
        server.wait()

        server, address = start(data_dir)
        again = [register(address, number) for number in range(1, 21)]
        for before, after in zip(first, again):
            assert not after.get("changed"), after
            assert after["incarnation"] == before["incarnation"], (before, after)
            assert after["revision"]["epoch"] == before["revision"]["epoch"]

        bad = muster(address, "register", "a b", "10.0.0.1:80")
        assert bad.returncode == 1 and "NAME_INVALID" in bad.stderr, bad

        second = subprocess.run(
            [f"{BIN}/musterd", "--data-dir", data_dir, "--grpc-listen", "127.0.0.1:0",
             "--http-listen", "off", "--dns-listen", "off"],
            capture_output=True, text=True, timeout=30, check=False)
        assert second.returncode == 1, second
        assert second.stderr.endswith("in use by another musterd\n"), second.stderr
        assert "rocksdb" not in second.stderr, second.stderr

        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=10) == 0, server.stderr.read()
        assert time.monotonic() - began < 10

        open_door = subprocess.run([f"{BIN}/musterd", "--data-dir", data_dir, "--grpc-listen",
                                    "0.0.0.0:0"], capture_output=True, text=True, timeout=30,
                                   check=False)
        assert open_door.returncode == 1 and "--insecure" in open_door.stderr, open_door


main()
