#!/usr/bin/env python3
"""No Register answer leaves before the log that holds it is synced: what the kernel was asked, in order.

usage: strace_test.py BIN_DIR

Each registration has an id of its own. In the trace of a real musterd, for each id: the write to a
.log file that holds it, then the first fdatasync or fsync of that file that returns 0, and only then
the first sendmsg that holds it begins. The same with rocksdb.sync off has to be found wanting: that
shows that this test can fail. Takes strace and the right to trace; without them it is skipped, and
fails in CI.
"""
import concurrent.futures
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BIN = sys.argv[1]
REGISTRATIONS = 60
AT_ONCE = 6

# 1234 12.345678 sendmsg(9<TCP:[…]>, {…"…"…}, 0) = 17      also "<unfinished ...>" and "resumed"
LINE = re.compile(r"^(?P<pid>\d+) +(?P<time>\d+\.\d+) (?P<rest>.*)$")
CALL = re.compile(r"^(?P<name>\w+)\((?P<fd>\d+)<(?P<file>[^>]*)>")
RESUMED = re.compile(r"^<\.\.\. (?P<name>\w+) resumed>")
ID = re.compile(r"id-traced-\d{4}")


def skip(why):
    print(f"SKIPPED: {why}")
    sys.exit(1 if os.environ.get("CI") == "true" else 77)


class Traced:
    """A musterd under strace, and what it was seen to do."""

    def __init__(self, top, *flags):
        self.trace = os.path.join(top, "trace")
        self.process = subprocess.Popen(
            ["strace", "-f", "-yy", "-ttt", "-s", "100000", "-e", "signal=none", "-o", self.trace,
             "-e", "trace=write,writev,pwrite64,fdatasync,fsync,sync_file_range,sendmsg,sendto",
             f"{BIN}/musterd", "--data-dir", os.path.join(top, "data"), "--grpc-listen",
             "127.0.0.1:0", "--http-listen", "off", "--dns-listen", "off", *flags],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().strip()
        if not line.startswith("ready grpc="):
            self.process.kill()
            skip(f"strace can't trace here: {self.process.stderr.read().strip()[:300]}")
        self.address = line.removeprefix("ready grpc=")

    def stop(self):
        """Ends musterd, not strace, which writes the rest of its trace then."""
        parent = self.process.pid
        with open(f"/proc/{parent}/task/{parent}/children", encoding="utf-8") as children:
            os.kill(int(children.read().split()[0]), signal.SIGTERM)
        self.process.wait(timeout=60)
        self.process.stdout.close()
        self.process.stderr.close()


def register(address, number):
    result = subprocess.run(
        [f"{BIN}/muster", "--addr", address, "register", "--permanent", "--id",
         f"id-traced-{number:04}", "traced", "10.0.0.1:80"],
        capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr


class Seen:
    """When, as line numbers, each id was written and sent, and each log was synced."""

    def __init__(self, trace):
        self.written = {}  # id -> (log, line on which the write ended)
        self.sent = {}     # id -> line on which the sending began
        self.synced = {}   # log -> [(line of the beginning, line of the end)]
        self.open = {}     # pid -> (call, line) that has not ended
        with open(trace, encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines):
                self.take(number, LINE.match(line))

    def take(self, number, match):
        if match is None:
            return
        pid, rest = match["pid"], match["rest"]
        call = CALL.match(rest)
        if call:
            began = (call["name"], call["file"], set(ID.findall(rest)), number)
            if call["name"] in ("sendmsg", "sendto"):
                for name in began[2]:
                    self.sent.setdefault(name, number)
            if rest.rstrip().endswith("<unfinished ...>"):
                self.open[pid] = began
            else:
                self.ended(number, began, rest)
        elif RESUMED.match(rest) and pid in self.open:
            self.ended(number, self.open.pop(pid), rest)

    def ended(self, number, began, rest):
        name, file, ids, line = began
        if not file.endswith(".log") or " = -1 " in rest:
            return
        if name in ("fdatasync", "fsync"):
            self.synced.setdefault(file, []).append((line, number))
        for one in ids:
            self.written.setdefault(one, (file, number))

    def verdict(self, one):
        """None when all is in order."""
        if one not in self.written:
            return "never written to a log"
        if one not in self.sent:
            return "never answered"
        log, written = self.written[one]
        sync = next((end for begin, end in self.synced.get(log, []) if begin > written), None)
        if sync is None:
            return "never synced"
        if self.sent[one] < sync:
            return f"answered on line {self.sent[one]}, synced on line {sync}"
        return None


def wrong(top, *flags):
    """The ids whose answer left too early, of all."""
    os.makedirs(top)
    server = Traced(top, *flags)
    try:
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda number: register(server.address, number), range(REGISTRATIONS)))
    finally:
        server.stop()
    seen = Seen(server.trace)
    found = {}
    for number in range(REGISTRATIONS):
        verdict = seen.verdict(f"id-traced-{number:04}")
        if verdict:
            found[number] = verdict
    syncs = sum(len(calls) for calls in seen.synced.values())
    print(f"{REGISTRATIONS} registrations, {syncs} syncs of logs, {len(found)} answered too early")
    return found


def main():
    if shutil.which("strace") is None:
        skip("strace is missing")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as top:
        found = wrong(os.path.join(top, "sync"))
        assert not found, found
        config = os.path.join(top, "nosync.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write("rocksdb: {sync: false}\n")
        found = wrong(os.path.join(top, "nosync"), "--config", config)
        assert len(found) > REGISTRATIONS / 2, "without sync this has to fail"
    print(f"ok, {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
