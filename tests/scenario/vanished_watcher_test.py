"""A host vanishes with its watchers alive: the server lets go of them in 45 s, they come back.

usage: vanished_watcher_test.py BUILD_DIR

The server and the host live in network namespaces of their own, joined by one link: nothing leaves
the machine. Takes root and `ip` from iproute2; without them the test is skipped, and fails in CI.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from namespaces import ip, skip

GONE_WITHIN = 45
TTL = 4
LIMIT = 110
SERVER_IP = "192.0.2.1"
HOST_IP = "192.0.2.2"
# A proxy that the environment names is in neither namespace.
ENVIRONMENT = {name: value for name, value in os.environ.items()
               if not name.lower().endswith("_proxy") and not name.startswith("MUSTER_")}


class Network:
    """Two namespaces and the link between them; gone at the end, whatever happens."""

    def __init__(self):
        self.server = f"muster-server-{os.getpid()}"
        self.host = f"muster-host-{os.getpid()}"

    def __enter__(self):
        try:
            for name in (self.server, self.host):
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
            ip("-n", self.server, "link", "add", "link0", "type", "veth",
               "peer", "name", "link0", "netns", self.host)
            for name, address in ((self.server, SERVER_IP), (self.host, HOST_IP)):
                ip("-n", name, "address", "add", f"{address}/24", "dev", "link0")
                ip("-n", name, "link", "set", "link0", "up")
                ip("netns", "exec", name, "true")
        except subprocess.CalledProcessError as error:
            self.remove()
            skip(f"no network namespaces: {error.stderr.strip() or error}")
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *unused):
        self.remove()

    def remove(self):
        for name in (self.server, self.host):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)

    def link(self, state):
        ip("-n", self.host, "link", "set", "link0", state)


class Program:
    """A process in a namespace, with what it wrote so far. Killed at the end."""

    def __init__(self, directory, title, namespace, *command):
        self.title = title
        self.out = os.path.join(directory, f"{title}.out")
        self.err = os.path.join(directory, f"{title}.err")
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(["ip", "netns", "exec", namespace, *command],
                                            stdout=out, stderr=err, env=ENVIRONMENT)

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        self.process.kill()
        self.process.wait()
        if kind is not None:
            print(f"--- {self.title}\n{read(self.out)}{read(self.err)}", file=sys.stderr)

    def runs(self):
        return self.process.poll() is None

    def lines(self):
        # The last piece is a line that is still being written, or nothing.
        return read(self.out).split("\n")[:-1]

    def events(self):
        return [json.loads(line) for line in self.lines()]


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def wait_for(what, condition, seconds=10.0):
    """What the condition gave when it first held."""
    end = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        assert time.monotonic() < end, f"not in {seconds} s: {what}"
        time.sleep(0.1)


def ports(events):
    """The ports that snapshots and changes of a program's first service brought."""
    found = set()
    for event in events:
        if event.get("subId") != "1":
            continue
        for endpoint in (event.get("snapshot", {}).get("endpoints", []) +
                         event.get("change", {}).get("upserted", [])):
            found.add(endpoint["port"])
    return found


def removed(events):
    return sum(len(event.get("change", {}).get("removed", [])) for event in events)


def snapshots(events):
    return sum("snapshot" in event or "reset" in event for event in events)


class Scene:
    """The server, and what a client beside it sees."""

    def __init__(self, build, directory, network, server):
        self.muster_program = f"{build}/bin/muster"
        self.directory = directory
        self.network = network
        self.server = server
        line = wait_for("ready", lambda: server.lines() or not server.runs())
        assert server.runs(), "musterd ended"
        self.address = line[0].removeprefix("ready grpc=")
        assert self.address.startswith(f"{SERVER_IP}:"), line
        self.next_port = 1

    def muster(self, *arguments):
        got = subprocess.run(
            ["ip", "netns", "exec", self.network.server, self.muster_program, "--addr",
             self.address, "-o", "json", *arguments],
            capture_output=True, text=True, timeout=20, check=False, env=ENVIRONMENT)
        assert got.returncode == 0, got
        return json.loads(got.stdout)

    def register(self, service):
        """A permanent instance with a port of its own, which is returned."""
        port = self.next_port
        self.next_port += 1
        self.muster("register", service, f"198.51.100.7:{port}", "--permanent")
        return port

    def watch(self, title, namespace, *services):
        return Program(self.directory, title, namespace, self.muster_program, "--addr",
                       self.address, "-o", "json", "watch", *services)

    def streams(self):
        return int(self.muster("status").get("watchStreams", 0))

    def files(self):
        return len(os.listdir(f"/proc/{self.server.process.pid}/fd"))


def wait_until_gone(scene, near, far, files_before):
    """Seconds until each count of watch streams, the expiry and the last open file."""
    began = time.monotonic()
    took = {}

    def note(what):
        took.setdefault(what, time.monotonic() - began)

    while not {"streams", "files", "lease"} <= took.keys():
        assert time.monotonic() - began < GONE_WITHIN, \
            f"after {GONE_WITHIN} s: {scene.streams()} watch streams, {scene.files()} open " \
            f"files ({files_before} before), so far {took}"
        port = scene.register("busy")
        wait_for("the near watcher's change", lambda: port in ports(near.events()), 5)
        streams = scene.streams()
        if streams < 3:
            note("first stream")
        if streams == 1:
            note("streams")
        if scene.files() <= files_before:
            note("files")
        if removed(near.events()) > 0:
            note("lease")
        time.sleep(0.3)
    for program in far:
        assert program.runs(), f"{program.title} ended by itself"
    return took


def host_vanishes(scene, near, far, files_before):
    busy, quiet, lease = far
    scene.network.link("down")
    seen = len(lease.lines())
    before = {program: len(program.events()) for program in (busy, quiet)}
    took = wait_until_gone(scene, near, far, files_before)
    assert len(lease.lines()) <= seen + 1 and "ended 0" not in lease.lines(), lease.lines()
    assert TTL - 2 <= took["lease"] <= TTL + 2, took
    for program in (busy, quiet):
        assert len(program.events()) == before[program], program.events()
    return took


def host_returns(scene, near, far):
    """Seconds until both watchers have what they missed, by changes alone."""
    busy, quiet, _ = far
    began = time.monotonic()
    scene.network.link("up")
    quiet_port = scene.register("quiet")
    wait_for("both watchers resumed", lambda: (ports(near.events()) == ports(busy.events()) and
                                               quiet_port in ports(quiet.events())), 15)
    took = time.monotonic() - began
    for program in (busy, quiet):
        assert program.runs() and snapshots(program.events()) == 1, program.events()
        assert "resuming" in read(program.err), read(program.err)
    wait_for("three streams again", lambda: scene.streams() == 3)
    return took


def play(build, directory, network):
    with Program(directory, "musterd", network.server, f"{build}/bin/musterd", "--data-dir",
                 os.path.join(directory, "data"), "--grpc-listen", f"{SERVER_IP}:0",
                 "--http-listen", "off", "--dns-listen", "off", "--insecure") as server:
        scene = Scene(build, directory, network, server)
        scene.register("busy")
        scene.register("quiet")
        with scene.watch("near", network.server, "busy", "leased") as near:
            wait_for("the near watcher's snapshot", lambda: snapshots(near.events()) == 2)
            wait_for("one stream", lambda: scene.streams() == 1)
            files_before = wait_for("a count of files", scene.files)
            with scene.watch("busy", network.host, "busy") as busy, \
                    scene.watch("quiet", network.host, "quiet") as quiet, \
                    Program(directory, "lease", network.host,
                            f"{build}/tests/bin/lease_stream_process", scene.address, "leased",
                            str(TTL)) as lease:
                far = (busy, quiet, lease)
                wait_for("three streams", lambda: scene.streams() == 3)
                wait_for("snapshots", lambda: busy.events() and quiet.events())
                # Longer than the TTL: the stream does keep the lease.
                wait_for("a kept lease", lambda: len(lease.lines()) > 4)
                assert removed(near.events()) == 0, near.events()
                assert scene.files() >= files_before + 3
                took = host_vanishes(scene, near, far, files_before)
                back = host_returns(scene, near, far)
    print("gone after", ", ".join(f"{what} {took[what]:.1f} s" for what in sorted(took)))
    print(f"resumed {back:.1f} s after the link was up")


def give_up(number, _):
    raise TimeoutError(f"signal {number}")


def main():
    if os.geteuid() != 0:
        skip("network namespaces take root")
    if shutil.which("ip") is None:
        skip("no program ip; it is in the package iproute2")
    # In time for the clean-up, before the test's runner kills.
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, give_up)
    signal.alarm(LIMIT)
    with tempfile.TemporaryDirectory() as directory, Network() as network:
        play(sys.argv[1], directory, network)


main()
