"""What the interop tests share: a musterd in a directory of its own, and the peers."""
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def peer(name):
    """The path that peers.sh prints. Without the peer the test is skipped; in CI it fails."""
    got = subprocess.run([HERE / "peers.sh", name], capture_output=True, text=True, check=False)
    if got.returncode == 0:
        return got.stdout.strip()
    print(got.stderr.strip())
    sys.exit(77 if got.returncode == 77 and os.environ.get("CI") != "true" else 1)


class Server:
    """A serving musterd on a free port, with its data below `directory`."""

    def __init__(self, binaries, directory, *flags):
        self.log = open(os.path.join(directory, "musterd.log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [f"{binaries}/musterd", "--data-dir", os.path.join(directory, "data"),
             "--grpc-listen", "127.0.0.1:0", "--http-listen", "off", "--dns-listen", "off", *flags],
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline().strip()
        if not line.startswith("ready grpc=127.0.0.1:"):
            self.log.seek(0)
            raise RuntimeError(f"musterd said {line!r}: {self.log.read()}")
        self.address = line.removeprefix("ready grpc=")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.log.close()
