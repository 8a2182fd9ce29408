"""Registry and snapshot are gone: the client library goes on with DNS.

usage: dns_fallback_test.py BUILD_DIR

A dnsmasq and the client live in a network namespace with a resolv.conf of its own: nothing leaves
the machine. Takes root, `ip` from iproute2 and dnsmasq; without them the test is skipped, and fails
in CI.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from namespaces import ip, skip

NAMESPACE = f"muster-dns-{os.getpid()}"
ETC = f"/etc/netns/{NAMESPACE}"
REGISTRY = "127.0.0.1:1"  # nobody listens there
MANY = 60


class Namespace:
    def __enter__(self):
        try:
            ip("netns", "add", NAMESPACE)
            ip("-n", NAMESPACE, "link", "set", "lo", "up")
            os.makedirs(ETC)
            write(f"{ETC}/resolv.conf", "nameserver 127.0.0.1\nsearch dev.example corp.example\n")
            write(f"{ETC}/hosts", "127.0.0.1 localhost\n10.7.7.7 in-hosts\n")
            ip("netns", "exec", NAMESPACE, "true")
        except (subprocess.CalledProcessError, OSError) as error:
            self.__exit__()
            skip(f"no network namespaces: {getattr(error, 'stderr', '') or error}")
        return self

    def __exit__(self, *unused):
        subprocess.run(["ip", "netns", "delete", NAMESPACE], capture_output=True, check=False)
        shutil.rmtree(ETC, ignore_errors=True)


def write(path, text):
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)


class Dnsmasq:
    """Serves corp.example; `hosts` is read again when it changes."""

    def __init__(self, directory):
        self.hosts = os.path.join(directory, "hosts")
        self.set_hosts("10.1.0.1")
        many = [f"--host-record=many.corp.example,10.2.0.{i}" for i in range(1, MANY + 1)]
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", NAMESPACE, "dnsmasq", "--keep-in-foreground", "--no-resolv",
             "--no-hosts", "--conf-file=/dev/null", "--listen-address=127.0.0.1",
             "--bind-interfaces", "--user=root", "--pid-file=", "--local=/example/",
             "--local-ttl=2", f"--addn-hosts={self.hosts}", "--log-facility=-",
             "--srv-host=api.corp.example,b.corp.example,8002,10,3",
             "--srv-host=api.corp.example,a.corp.example,8001,10,1",
             "--srv-host=api.corp.example,c.corp.example,8003,20,9",
             "--host-record=a.corp.example,10.3.0.1",
             "--host-record=b.corp.example,10.3.0.2,fd00::2",
             "--host-record=c.corp.example,10.3.0.3",
             "--host-record=six.corp.example,fd00::6", *many],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def set_hosts(self, address):
        write(self.hosts, f"{address} web.corp.example\n" if address else "")

    def signal(self, number):
        # `ip netns exec` becomes the program.
        self.process.send_signal(number)

    def __enter__(self):
        time.sleep(0.5)
        if self.process.poll() is not None:
            sys.exit(f"dnsmasq ended with {self.process.returncode}")
        return self

    def __exit__(self, *unused):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


class Client:
    def __init__(self, build, name, seconds=0):
        environment = {key: value for key, value in os.environ.items() if not key.endswith("_URL")}
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", NAMESPACE, f"{build}/tests/bin/resolve_process", REGISTRY,
             name, str(seconds)], stdout=subprocess.PIPE, text=True, env=environment)

    def line(self):
        return self.process.stdout.readline().strip()

    def end(self):
        self.process.kill()
        self.process.wait()


def resolved(build, name):
    """What it says first, and the milliseconds that it took."""
    client = Client(build, name)
    line = client.line()
    client.end()
    match = re.fullmatch(r"(.*) in (\d+) ms", line)
    if match is None:
        sys.exit(f"{name}: {line!r}")
    return match.group(1), int(match.group(2))


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: got {got!r}, not {wanted!r}")
    print(f"{what}: {got}")


def records(build):
    text, took = resolved(build, "web:8002")
    expect("an address, by a search domain", text, "resolved dns 10.1.0.1:8002/1")
    if took > 1000:
        sys.exit(f"it took {took} ms with a registry that refuses connections")
    expect("the port of the scheme", resolved(build, "http://web/x")[0],
           "resolved dns 10.1.0.1:80/1")
    expect("SRV records of the lowest priority", resolved(build, "api")[0],
           "resolved dns 10.3.0.1:8001/1 10.3.0.2:8002/3")
    expect("a name of DNS", resolved(build, "dns:///a.corp.example:99")[0],
           "resolved dns 10.3.0.1:99/1")
    expect("IPv6 where there is nothing else", resolved(build, "dns:///six.corp.example:99")[0],
           "resolved dns fd00::6:99/1")
    expect("/etc/hosts", resolved(build, "in-hosts:5")[0], "resolved dns 10.7.7.7:5/1")
    many = resolved(build, "many:1")[0].split()
    expect("an answer that takes TCP", len(many) - 2, MANY)


def absence(build):
    text, took = resolved(build, "nobody")
    if not text.startswith("error: ") or "the registry has told nothing" not in text:
        sys.exit(f"nobody: {text!r}")
    # Nobody else knows it, so that the registry is waited for (first_answer).
    if not 2900 < took < 4500:
        sys.exit(f"a name that isn't there took {took} ms")
    print(f"neither knows it: {text}")
    expect("NXDOMAIN is an answer", resolved(build, "dns:///nobody.corp.example:1")[0],
           "resolved dns")


def changes(build, dns):
    client = Client(build, "web:8002", 120)
    expect("at the start", client.line().split(" in ")[0], "resolved dns 10.1.0.1:8002/1")
    expect("a listener", client.line(), "changed dns 10.1.0.1:8002/1")
    # Nobody answers for longer than the TTL: it stays. Then the record is another one.
    dns.signal(signal.SIGSTOP)
    time.sleep(6)
    dns.set_hosts("10.1.0.2")
    dns.signal(signal.SIGCONT)
    dns.signal(signal.SIGHUP)
    begin = time.monotonic()
    line = client.line()
    expect("after an outage of DNS", line, "changed dns 10.1.0.2:8002/1")
    # The TTL is 2 s; a lookup that was given up takes up to 3 s more.
    if time.monotonic() - begin > 7:
        sys.exit(f"the new record was seen after {time.monotonic() - begin:.1f} s")
    dns.set_hosts("")
    dns.signal(signal.SIGHUP)
    time.sleep(5)
    dns.set_hosts("10.1.0.3")
    dns.signal(signal.SIGHUP)
    expect("a record that was gone for a moment", client.line(), "changed dns 10.1.0.3:8002/1")
    client.end()


def silence(build, dns):
    dns.signal(signal.SIGSTOP)
    text, took = resolved(build, "web:8002")
    dns.signal(signal.SIGCONT)
    if not text.startswith("error: ") or "DNS" not in text:
        sys.exit(f"a DNS that is silent: {text!r}")
    if not 1000 < took < 5000:
        sys.exit(f"a DNS that is silent took {took} ms")
    print(f"silence: {text} in {took} ms")


def main():
    build = sys.argv[1]
    if os.geteuid() != 0:
        skip("takes root")
    for program in ("ip", "dnsmasq"):
        if shutil.which(program) is None:
            skip(f"there is no {program}")
    with Namespace(), tempfile.TemporaryDirectory() as directory:
        with Dnsmasq(directory) as dns:
            records(build)
            absence(build)
            silence(build, dns)
            changes(build, dns)


main()
