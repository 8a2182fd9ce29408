"""Checks that musterd runs, against nginx, Redis and PostgreSQL as Debian packages them.

usage: daemons_test.py BUILD_DIR

Each is killed (SIGKILL), stopped (SIGSTOP) or made to close its listener; who watches is told in
time, and what is said of it is as declared. `./dev setup` unpacks the packages; without them the
test is skipped, and fails in CI.
"""
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from namespaces import skip

BUILD = os.path.abspath(sys.argv[1])
ROOT = os.path.join(BUILD, "..", "daemons")
INTERVAL, TIMEOUT, FAILURES = 1.0, 0.5, 2
BOUND = FAILURES * INTERVAL + TIMEOUT + 0.25
POSTGRES = os.path.join(ROOT, "usr/lib/postgresql/15/bin")
# PostgreSQL refuses to run as root.
NOT_ROOT = ["unshare", "-U", "--map-user=1000", "--map-group=1000"]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_until(what, done, seconds=20):
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            sys.exit(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


class Daemon:
    """A process, its children, and where it listens."""

    def __init__(self, argv, port, directory):
        self.port = port
        with open(os.path.join(directory, "log"), "wb") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        wait_until(argv[0], lambda: listens(port))

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def end(self):
        try:
            self.signal(signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class Nginx(Daemon):
    CONFIG = """
daemon off; worker_processes 1; pid {0}/pid; error_log {0}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c;
  uwsgi_temp_path {0}/d; scgi_temp_path {0}/e;
  server {{ listen 127.0.0.1:{1}; location /health {{ return {2} "nginx says\\n"; }} }}
}}
"""

    def __init__(self, directory):
        self.directory = directory
        self.own_port = free_port()
        self.configure(self.own_port, 200)
        super().__init__([os.path.join(ROOT, "usr/sbin/nginx"), "-p", directory, "-c",
                          os.path.join(directory, "nginx.conf")], self.own_port, directory)

    def configure(self, port, status):
        with open(os.path.join(self.directory, "nginx.conf"), "w", encoding="ascii") as out:
            out.write(self.CONFIG.format(self.directory, port, status))

    def says(self, status):
        self.configure(self.own_port, status)
        os.kill(self.process.pid, signal.SIGHUP)

    def closes_its_listener(self):
        self.configure(free_port(), 200)
        os.kill(self.process.pid, signal.SIGHUP)
        wait_until("nginx closes", lambda: not listens(self.own_port))


def redis(directory):
    port = free_port()
    return Daemon([os.path.join(ROOT, "usr/bin/redis-server"), "--port", str(port), "--bind",
                   "127.0.0.1", "--save", "", "--dir", directory], port, directory)


def postgres(directory):
    port = free_port()
    data = os.path.join(directory, "data")
    made = subprocess.run([*NOT_ROOT, os.path.join(POSTGRES, "initdb"), "-D", data, "-A", "trust",
                           "--no-sync", "--locale=C", "-E", "UTF8"], capture_output=True,
                          text=True, timeout=60, check=False)
    if made.returncode != 0:
        skip(f"initdb: {made.stderr.strip()}")
    return Daemon([*NOT_ROOT, os.path.join(POSTGRES, "postgres"), "-D", data, "-h", "127.0.0.1",
                   "-p", str(port), "-k", ""], port, directory)


class Registry:
    def __init__(self, directory):
        self.process = subprocess.Popen(
            [os.path.join(BUILD, "bin/musterd"), "--data-dir", os.path.join(directory, "registry"),
             "--grpc-listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
        self.address = re.search(r"grpc=(\S+)", self.process.stdout.readline()).group(1)
        self.lines = queue.Queue()
        self.watch = None

    def muster(self, *arguments):
        ran = subprocess.run([os.path.join(BUILD, "bin/muster"), "--addr", self.address,
                              *arguments], capture_output=True, text=True, timeout=30, check=False)
        if ran.returncode != 0:
            sys.exit(f"muster {' '.join(arguments)}: {ran.stderr}")
        return ran.stdout

    def register(self, name, port, kind):
        self.muster("register", "daemons", f"127.0.0.1:{port}", "--id", name, "--permanent",
                    "--probe", f"{kind},interval=1s,timeout=500ms,failures={FAILURES}")

    def follow(self):
        self.watch = subprocess.Popen(
            [os.path.join(BUILD, "bin/muster"), "--addr", self.address, "-o", "json", "watch",
             "daemons"], stdout=subprocess.PIPE, text=True)

        def read():
            for line in self.watch.stdout:
                self.lines.put((time.monotonic(), json.loads(line)))
        threading.Thread(target=read, daemon=True).start()

    def change(self, name, came, seconds):
        """When `name` came, or left."""
        end = time.monotonic() + seconds
        while True:
            try:
                at, event = self.lines.get(timeout=max(end - time.monotonic(), 0.001))
            except queue.Empty:
                return None
            held = event.get("snapshot", event.get("change", {}))
            key = ("endpoints" if "snapshot" in event else "upserted") if came else "removed"
            if any(one.get("id") == name for one in held.get(key, [])):
                return at

    def said(self, name):
        check = json.loads(self.muster("-o", "json", "describe", "daemons", name))["checks"][0]
        return check["latest"]["status"], check["latest"]["output"]

    def end(self):
        for process in (self.watch, self.process):
            if process is not None:
                process.terminate()
                process.wait(timeout=20)


def expect_gone(registry, name, what, fault, output):
    begin = time.monotonic()
    fault()
    at = registry.change(name, False, BOUND + 2)
    status, said = registry.said(name)
    took = "never" if at is None else f"{at - begin:.2f} s"
    print(f"{name}, {what}: gone after {took} (bound {BOUND} s): {said.splitlines()[0]}")
    if at is None or at - begin > BOUND or status != "CRITICAL" or output not in said:
        sys.exit(f"{name}, {what}: {took}, {status}, {said!r}")


def expect_back(registry, name, what, repair):
    repair()
    if registry.change(name, True, 10) is None:
        sys.exit(f"{name}, {what}: didn't come back: {registry.said(name)}")


def run(directory, registry, daemons):
    for name in ("nginx", "redis", "postgres"):
        os.mkdir(os.path.join(directory, name))
    daemons["nginx"] = Nginx(os.path.join(directory, "nginx"))
    daemons["redis"] = redis(os.path.join(directory, "redis"))
    daemons["postgres"] = postgres(os.path.join(directory, "postgres"))
    registry.follow()
    for name, kind in (("nginx", "http:/health"), ("redis", "tcp"), ("postgres", "tcp")):
        registry.register(name, daemons[name].port, kind)
        if registry.change(name, True, 10) is None:
            sys.exit(f"{name} never passed: {registry.said(name)}")
    print("all pass")

    nginx = daemons["nginx"]
    expect_gone(registry, "nginx", "503", lambda: nginx.says(503), "HTTP 503")
    expect_back(registry, "nginx", "200", lambda: nginx.says(200))
    expect_gone(registry, "nginx", "SIGSTOP", lambda: nginx.signal(signal.SIGSTOP), "timed out")
    expect_back(registry, "nginx", "SIGCONT", lambda: nginx.signal(signal.SIGCONT))
    expect_gone(registry, "nginx", "its listener closed", nginx.closes_its_listener, "refused")
    # The kernel accepts for them: a connection is all that a tcp check asks for.
    for name in ("redis", "postgres"):
        daemons[name].signal(signal.SIGSTOP)
    time.sleep(BOUND)
    for name in ("redis", "postgres"):
        if registry.said(name)[0] != "PASSING":
            sys.exit(f"{name}, stopped: {registry.said(name)}")
        daemons[name].signal(signal.SIGCONT)
        expect_gone(registry, name, "SIGKILL", lambda: daemons[name].signal(signal.SIGKILL),
                    "refused")


def main():
    if not os.path.exists(os.path.join(ROOT, "usr/sbin/nginx")):
        skip("nginx, Redis and PostgreSQL are not unpacked; ./dev setup does it")
    daemons = {}
    with tempfile.TemporaryDirectory(prefix="muster-daemons-") as directory:
        registry = Registry(directory)
        try:
            run(directory, registry, daemons)
        finally:
            registry.end()
            for daemon in daemons.values():
                daemon.end()
    print("daemons: ok")


main()
