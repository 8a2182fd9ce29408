"""Runs every line with grpcurl or muster that a document shows, and compares what it answers.

Each document has a server of its own and is run from top to bottom. 127.0.0.1:8502 in it means that
server. A command that follows something (a watch, a kept lease) goes on in the background until
the end of the document, and then has to have said what is promised.

usage: doc_lines_test.py BIN_DIR [--self-test | DOCUMENT…]
"""
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import doc_lines
import harness

DOCUMENTED = "127.0.0.1:8502"
FOLLOWS = re.compile(r"/(Watch|WatchServices|KeepAlive)\b|\bmuster\b.* watch\b|--keepalive\b|--watch\b")
DEADLINE = 64 + 4  # how grpcurl ends when -max-time is over
PATIENCE = 20  # seconds for what should take less than one


class Failure(Exception):
    pass


class Page:
    """A document being run."""

    def __init__(self, path, server, directory, tools):
        self.path, self.server, self.directory = path, server, directory
        self.following = []
        self.environment = {**os.environ, "MUSTER_ADDR": server.address, "NO_COLOR": "1",
                            "PATH": os.pathsep.join([*tools, os.environ["PATH"]])}

    def run(self):
        """How many commands were run."""
        commands = doc_lines.commands(self.path.read_text(encoding="utf-8"))
        try:
            for command in commands:
                self.run_one(command)
            for command, process, output in self.following:
                self.await_promised(command, process, output)
        finally:
            for _, process, output in self.following:
                self.end(process)
                output.close()
        return len(commands)

    def run_one(self, command):
        if "grpcurl " in command.text and not re.search(rf"{DOCUMENTED}| -proto ", command.text):
            self.fail(command, f"names no server at {DOCUMENTED}")
        if FOLLOWS.search(command.text):
            return self.follow(command)
        done = subprocess.run(
            ["bash", "-c", self.shell(command)], cwd=self.directory, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=60, check=False)
        promised = self.promised(command)
        refused = promised.lstrip().startswith(("ERROR:", "muster: "))
        if (done.returncode != 0) != refused:
            self.fail(command, f"ended with {done.returncode}:\n{done.stdout}")
        if command.output is not None:
            self.compare(command, done.stdout)
        return None

    def follow(self, command):
        output = tempfile.TemporaryFile("w+", dir=self.directory)
        process = subprocess.Popen(
            ["bash", "-c", self.shell(command)], cwd=self.directory, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True)
        self.following.append((command, process, output))
        # What comes later in the document happens while this runs.
        until = time.monotonic() + PATIENCE
        while self.written(output) == "":
            if process.poll() is not None or time.monotonic() > until:
                self.fail(command, f"said nothing; ended with {process.poll()}")
            time.sleep(0.02)

    def await_promised(self, command, process, output):
        until = time.monotonic() + PATIENCE
        while command.output and doc_lines.difference(self.promised(command), self.written(output)):
            if time.monotonic() > until:
                self.compare(command, self.written(output))
            time.sleep(0.05)
        try:
            process.wait(2)  # one that only had an error to say ends right after it
        except subprocess.TimeoutExpired:
            pass
        if process.poll() not in (None, 0, DEADLINE):
            self.fail(command, f"ended with {process.poll()}:\n{self.written(output)}")

    @staticmethod
    def written(output):
        output.seek(0)
        return output.read()

    @staticmethod
    def end(process):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def shell(self, command):
        text = re.sub(r"(?<![\w/])(\./)?build/release/bin/", "", command.text)
        return "set -o pipefail\n" + text.replace(DOCUMENTED, self.server.address)

    def promised(self, command):
        return (command.output or "").replace(DOCUMENTED, self.server.address)

    def compare(self, command, got):
        different = doc_lines.difference(self.promised(command), got)
        if different:
            self.fail(command, different)

    def fail(self, command, why):
        raise Failure(f"{self.path}:{command.line}: {command.text}\n{why}")


def run_document(binaries, path, tools):
    with tempfile.TemporaryDirectory() as directory:
        with harness.Server(binaries, directory) as server:
            os.symlink(harness.ROOT / "proto", os.path.join(directory, "proto"))
            return Page(path, server, directory, tools).run()


def run_all(binaries, paths, tools):
    failures = total = 0
    for path in paths:
        try:
            count = run_document(binaries, path, tools)
            total += count
            print(f"{path}: {count} commands")
        except Failure as failure:
            failures += 1
            print(failure)
    assert total > 0, "the documents show no command at all"
    return 1 if failures else 0


REGISTER = """```sh
grpcurl -plaintext -d '{"instance": {"service": "api", "address": "10.0.0.1", "port": 80}}' \\
  127.0.0.1:8502 muster.v1.Registry/Register
```
"""
ANSWER = """```json
{
  "incarnation": "1795489905036403",
  "lease_handle": "1795489905036403",
  "revision": {"epoch": "7719472613", "seq": "1795489905036403"},
  "ttl": "30s",
  "heartbeat_interval": "10s",
  "changed": true,
  "key": {"namespace": "default", "service": "api", "id": "…"}
}
```
"""
REFUSED = """```console
$ grpcurl -plaintext -d @ 127.0.0.1:8502 muster.v1.Registry/Deregister <<EOF
{"key": {"service": "api", "id": "nobody"}}
EOF
ERROR:
  Code: NotFound
…
```
"""
GOOD = {"an answer": REGISTER + ANSWER, "only success": REGISTER, "an error": REFUSED,
        "a transcript": "```\n$ build/release/bin/muster register api 10.0.0.1:80\n"
                        "registered default/api id … incarnation 1795489905036403 ttl 30s\n```\n"}
BAD = {"a method that is not there": REGISTER.replace("/Register", "/Enlist"),
       "a field that is not there": REGISTER.replace('"port"', '"harbour"'),
       "another server": REGISTER.replace("127.0.0.1:8502", "127.0.0.1:1"),
       "a key too many": REGISTER + ANSWER.replace('"changed"', '"surprised": 1,\n  "changed"'),
       "a key too few": REGISTER + ANSWER.replace('  "changed": true,\n', ""),
       "another value": REGISTER + ANSWER.replace("default", "other"),
       "text for JSON": REGISTER + "```text\nok\n```\n",
       "success for an error": REGISTER + ANSWER.replace("```json\n{", "```text\nERROR:\n{"),
       "an error for success": REFUSED.replace("ERROR:\n  Code: NotFound\n…\n", ""),
       "another error": REFUSED.replace("NotFound", "Aborted"),
       "a flag that is not there": GOOD["a transcript"].replace("register api", "register --x api"),
       "other words": GOOD["a transcript"].replace("registered", "enlisted"),
       "a line in a plain block": "```\ngrpcurl -plaintext 127.0.0.1:8502 describe muster.v1.No\n```\n",
       "a watch of nothing": "```sh\ngrpcurl -plaintext 127.0.0.1:8502 muster.v1.None/Watch\n```\n"}


def self_test(binaries, tools):
    with tempfile.TemporaryDirectory() as directory:
        for good, documents in ((True, GOOD), (False, BAD)):
            for name, text in documents.items():
                path = pathlib.Path(directory) / "document.md"
                path.write_text(text, encoding="utf-8")
                try:
                    run_document(binaries, path, tools)
                    failed = ""
                except Failure as failure:
                    failed = str(failure)
                assert (not failed) == good, f"{name}: {failed or 'was not noticed'}"
    print(f"{len(GOOD)} good and {len(BAD)} bad documents told apart")
    return 0


def main():
    binaries, *rest = sys.argv[1:]
    tools = [os.path.abspath(binaries), os.path.dirname(harness.peer("grpcurl"))]
    if rest == ["--self-test"]:
        return self_test(binaries, tools)
    root = harness.ROOT
    paths = [pathlib.Path(name) for name in rest] or [
        root / "README.md", *sorted((root / "docs").glob("**/*.md"))]
    return run_all(binaries, paths, tools)


sys.exit(main())
