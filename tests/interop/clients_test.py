"""The programs of docs/using-from-*.md, run against a real server.

Each registers, keeps a lease of 3 s alive on the stream KeepAlive, and prints the set that it
watches. The document has to show the very text of the program, and its block with protoc is what
makes the stubs here.

usage: clients_test.py BIN_DIR node|python|go
"""
import json
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import doc_lines
import harness

TTL = 3.0
PATIENCE = 20


def document(language, program):
    """The blocks of the language's document; `program` is one of them."""
    path = harness.ROOT / "docs" / f"using-from-{language}.md"
    found = doc_lines.blocks(path.read_text(encoding="utf-8"))
    text = program.read_text(encoding="utf-8")
    assert any("\n".join(block.lines) + "\n" == text for block in found), \
        f"{path} does not show the text of {program}"
    return found


def generate(found, work, environment):
    """Runs what the document says about stubs."""
    scripts = ["\n".join(block.lines) for block in found
               if block.language == "sh" and "protoc " in "\n".join(block.lines)]
    assert len(scripts) == 1, scripts
    subprocess.run(["bash", "-ec", scripts[0]], cwd=work, env=environment, check=True)


def prepare_node(work, name):
    environment = {**os.environ, "NODE_PATH": harness.peer("node")}
    program = harness.HERE / "node" / f"{name}.js"
    document("node", program)
    shutil.copy(program, work)
    return ["node", program.name], environment


def prepare_python(work, name):
    interpreter = harness.peer("python")
    environment = {**os.environ, "PATH": f"{os.path.dirname(interpreter)}:{os.environ['PATH']}"}
    program = harness.HERE / "python" / f"{name}.py"
    generate(document("python", program), work, environment)
    shutil.copy(program, work)
    return [interpreter, program.name], environment


def prepare_go(work, _):
    environment = {**os.environ, "PATH": f"{harness.peer('go-plugins')}:{os.environ['PATH']}",
                   "GOFLAGS": "-buildvcs=false -mod=readonly", "GOTOOLCHAIN": "local"}
    folder = harness.HERE / "go"
    generate(document("go", folder / "main.go"), work, environment)
    for name in ("main.go", "go.mod", "go.sum"):
        shutil.copy(folder / name, work)
    subprocess.run(["go", "build", "-o", "web", "."], cwd=work, env=environment, check=True)
    return ["./web"], environment


class Client:
    """A running program; its lines come with the time at which they were read."""

    def __init__(self, command, port, server, work, environment):
        self.address = f"127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [*command, str(port), server.address], cwd=work, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put((time.monotonic(), line.rstrip()))

    def await_set(self, *addresses):
        """When the program printed exactly these addresses."""
        wanted, seen = "web: " + " ".join(sorted(addresses)), []
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                at, line = self.lines.get(timeout=0.5)
            except queue.Empty:
                continue
            seen.append(line)
            if line == wanted:
                return at
        raise AssertionError(f"wanted {wanted!r}, saw {seen}, exit {self.process.poll()}")

    def assert_quiet(self, seconds):
        try:
            line = self.lines.get(timeout=seconds)
        except queue.Empty:
            assert self.process.poll() is None, f"ended with {self.process.poll()}"
            return
        raise AssertionError(f"nothing changed, but it said {line}")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()


def muster(binaries, server, *arguments):
    done = subprocess.run([f"{binaries}/muster", "--addr", server.address, "-o", "json", *arguments],
                          stdout=subprocess.PIPE, text=True, timeout=30, check=True)
    return json.loads(done.stdout) if done.stdout.strip() else None


def id_of(binaries, server, client):
    endpoints = muster(binaries, server, "discover", "web")["endpoints"]
    return next(e["id"] for e in endpoints if client.address == f"{e['address']}:{e['port']}")


def check(binaries, command, work, environment, server, lasting):
    """`lasting`: the program comes back when its lease is lost."""
    running = []

    def start(port):
        running.append(Client(command, port, server, work, environment))
        return running[-1]

    try:
        first = start(8081)
        first.await_set(first.address)
        other = "127.0.0.1:9000"
        muster(binaries, server, "register", "web", other, "--ttl", "10m")
        first.await_set(first.address, other)
        second = start(8082)
        second.await_set(first.address, second.address, other)
        first.await_set(first.address, second.address, other)
        first.assert_quiet(2.5 * TTL)  # leases are kept
        if lasting:  # told that its lease is unknown, it registers again
            muster(binaries, server, "deregister", "web", id_of(binaries, server, first))
            second.await_set(second.address, other)
            second.await_set(first.address, second.address, other)
        killed = time.monotonic()
        second.kill()
        gone = first.await_set(first.address, other)
        assert TTL / 2 < gone - killed < TTL + 3, f"left after {gone - killed:.2f} s"
    finally:
        for client in running:
            client.kill()


def main():
    binaries, language = os.path.abspath(sys.argv[1]), sys.argv[2]
    prepare = {"node": prepare_node, "python": prepare_python, "go": prepare_go}[language]
    for name in {"node": ["client", "short"], "python": ["client", "short"], "go": ["main"]}[language]:
        with tempfile.TemporaryDirectory() as directory:
            work = pathlib.Path(directory) / "work"
            work.mkdir()
            (work / "proto").symlink_to(harness.ROOT / "proto")
            command, environment = prepare(work, name)
            with harness.Server(binaries, directory) as server:
                check(binaries, command, work, environment, server, lasting=name != "short")


main()
