#!/usr/bin/env python3
"""Checks what the compiler does not: which room includes which, and which calls stay in their seam.

  layers.py              checks the tree; prints file:line: rule: message; exit 1 when something is found
  layers.py --self-test  plants one violation of every rule and one clean twin; exit 1 when it is missed

Reads text only; the whole tree takes well under a second.
"""
import os
import re
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOPS = ("base", "storage", "client", "server", "tests")
SUFFIXES = (".cc", ".h", ".py", ".sh")
MAX_LINES = 800
# A channel for generated stubs is a gRPC type.
GRPC_HEADER = "client/include/muster/client/service_channel.h"

FACES = ("server/health", "server/rpc", "server/http", "server/dns", "server/xds")
# Room -> rooms that it may include, besides itself.
ROOMS = {
    "proto": (),
    "base": (),
    "storage": ("proto", "base"),
    "storage/rocksdb": ("proto", "base", "storage"),
    "client": ("proto", "base"),
    "client/cli": ("proto", "base", "client", "storage", "storage/rocksdb"),
    "server/core": ("proto", "base", "storage"),
    "server/security": ("proto", "base", "storage"),
    **{face: ("proto", "base", "storage", "server/core", "server/security") for face in FACES},
    "server/app": ("proto", "base", "storage", "storage/rocksdb", "server/core",
                   "server/security") + FACES,
    "server": ("base", "server/app"),
}
PROTO_PREFIXES = ("muster/v1/", "muster/storage/", "muster/config/", "muster/snapshot/",
                  "google/rpc/", "grpc/health/")
# Who may use these libraries; nobody else does.
LIBRARIES = {
    "grpc": (re.compile(r"^(grpcpp|grpc|grpc\+\+)/|\.grpc\.pb\.h$"),
             ("client", "client/cli", "server/health", "server/rpc", "server/app", "server/security/tls",
              "tests")),
    "boost": (re.compile(r"^boost/"), ("server/health", "server/http", "server/dns", "tests")),
    "rocksdb": (re.compile(r"^rocksdb/"), ("storage/rocksdb", "tests")),
    # Its header only: base links nothing, and does without where the program does.
    "jemalloc": (re.compile(r"^jemalloc/"), ("base/huge_pages.cc",)),
}
# base is linked into users' programs: the standard library, Abseil and the system's headers only.
BASE_ALLOWS = re.compile(r"^(absl/|[a-z_]+$|(sys|arpa|netinet)/[a-z]+\.h$|pthread\.h$|unistd\.h$|"
                         r"jemalloc/)")

# Call -> what it is, and the files or folders that may use it. "tests" with a sub-folder is exact.
CALLS = {
    "clock": (re.compile(r"\bclock::now\s*\(|(?<![\w.>])now\s*\(\s*\)|\babsl::Now\s*\(|"
                         r"\bgettimeofday\s*\(|\bclock_gettime\s*\(|\bgpr_now\s*\(|"
                         r"(?<![\w.>])time\s*\(\s*(NULL|nullptr|0)\s*\)|\w+_clock::now\b"),
              ("base/clock.cc", "tests/support", "tests/scenario", "tests/fault", "tests/bench")),
    "sleep": (re.compile(r"\bsleep_(for|until)\s*\(|\babsl::SleepFor\s*\(|"
                         r"(?<![\w.>])(u|nano)?sleep\s*\("),
              ("tests/support", "tests/scenario", "tests/fault", "tests/bench")),
    "chance": (re.compile(r"(?<![\w.>])s?rand\s*\(|\brandom_device\b|\bBitGen\b|"
                          r"(?<![\w.>])getrandom\s*\(|\bmt19937"),
               ("base/rng.cc", "tests")),
    "environment": (re.compile(r"(?<![\w.>])(secure_)?getenv\s*\("),
                    ("server/main.cc", "server/app", "client/cli", "client/environment.cc",
                     "tests")),
    "mutex": (re.compile(r"\bstd::(recursive_|shared_|timed_)?mutex\b|\babsl::Mutex\b|"
                         r"\bstd::(lock_guard|scoped_lock|unique_lock|condition_variable)\b"),
              ("base/mutex.h",)),
    "thread": (re.compile(r"\bstd::(j?thread\b(?!::)|async\b)|\bpthread_create\b"),
               ("base/thread.h", "base/thread.cc", "tests")),
    "socket": (re.compile(r"(?<![\w.>])(::)?socket\s*\(\s*(AF|PF)_|(?<![\w>])::(bind|connect|accept|"
                          r"listen)\s*\(|(?<![\w.>])getaddrinfo\s*\("),
               ("base", "server/app", "server/main.cc", "server/health/system_resolver.cc",
                "server/health/probe_descriptors.cc", "client/cli", "tests")),
}
# In pieces, so that this file passes its own check.
MARKERS = re.compile(r"\b(TO" r"DO|FIX" r"ME|HA" r"CK|XX" r"X|NOLI" r"NT\w*|GTEST_SK" r"IP\w*|"
                     r"DISAB" r"LED_\w+)\b")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
NOT_CODE = re.compile(r'R"(?P<d>[^(\s]*)\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"|'
                      r"(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'|//[^\n]*|/\*.*?\*/", re.S)


def code_of(text):
    """The text with comments, strings and characters blanked; line numbers stay."""
    return NOT_CODE.sub(lambda m: '""' + "\n" * m.group().count("\n"), text)


def within(path, places):
    return any(path == p or path.startswith(p + "/") or path.startswith(p + ".") for p in places)


def room_of(path):
    best = ""
    for room in ROOMS:
        if path.startswith(room + "/") and len(room) > len(best):
            best = room
    return "tests" if path.startswith("tests/") else best


def included_room(name):
    if name.startswith("muster/client/"):
        return "client"
    if name.startswith(PROTO_PREFIXES):
        return "proto"
    return room_of(name)


def check_include(path, quote, name):
    room = room_of(path)
    target = included_room(name)
    for library, (pattern, places) in LIBRARIES.items():
        if pattern.search(name) and not name.endswith("health.pb.h") and not within(path, places):
            yield library, f'"{name}" is not for {room or path}; allowed in: {", ".join(places)}'
    shows_grpc = path.startswith("client/include/") and LIBRARIES["grpc"][0].search(name)
    if shows_grpc and path != GRPC_HEADER:
        yield "public", f'"{name}": the public headers of the client show no gRPC, but {GRPC_HEADER}'
    if room == "base" and target != "base" and not BASE_ALLOWS.match(name):
        yield "base", f'"{name}": base includes the standard library and Abseil only'
    if room == "tests":
        return
    if target and target != room and target not in ROOMS.get(room, ()):
        yield "layer", f'{room or path} may not include {target} ("{name}")'
    if name.startswith("tests/") or ".." in name.split("/"):
        yield "layer", f'"{name}": not from the project root, or a test'
    if quote == '"' and not target and "/" not in name:
        yield "layer", f'"{name}" is not written from the project root'


def check_file(path, text):
    """Yields (line, rule, message)."""
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        yield len(lines), "length", f"{len(lines)} lines; at most {MAX_LINES}"
    for number, line in enumerate(lines, 1):
        marker = MARKERS.search(line)
        if marker:
            yield number, "marker", f"{marker.group()} has no place in the tree"
    if not path.endswith((".cc", ".h")):
        return
    for number, line in enumerate(lines, 1):
        include = INCLUDE.match(line)
        if include:
            for rule, message in check_include(path, *include.groups()):
                yield number, rule, message
    for number, line in enumerate(code_of(text).splitlines(), 1):
        for rule, (pattern, places) in CALLS.items():
            found = pattern.search(line)
            if found and not within(path, places):
                yield number, rule, f'{found.group().strip()} belongs to {", ".join(places)}'


def tree(root):
    for top in TOPS:
        for folder, folders, files in os.walk(os.path.join(root, top)):
            folders[:] = sorted(f for f in folders if f not in ("node_modules", "__pycache__"))
            for name in sorted(files):
                if name.endswith(SUFFIXES):
                    full = os.path.join(folder, name)
                    yield os.path.relpath(full, root).replace(os.sep, "/"), full


def check_tree():
    count = files = 0
    for path, full in tree(ROOT):
        files += 1
        with open(full, encoding="utf-8") as source:
            for line, rule, message in check_file(path, source.read()):
                count += 1
                print(f"{path}:{line}: {rule}: {message}")
    if files < 10:
        print(f"only {files} sources found under {ROOT}")
        return 1
    print(f"lint: {files} files, {count} findings")
    return 1 if count else 0


def rules_found(path, text):
    """The rules that a tree of this one file breaks, found the way the real tree is read."""
    with tempfile.TemporaryDirectory() as root:
        full = os.path.join(root, path)
        os.makedirs(os.path.dirname(full))
        with open(full, "w", encoding="utf-8") as planted:
            planted.write(text)
        return {rule for name, file in tree(root)
                for _, rule, _ in check_file(name, open(file, encoding="utf-8").read())}


# rule, path, text that breaks it, text that does not (in the same file).
PLANTED = [
    ("layer", "server/core/a.cc", '#include "server/rpc/b.h"', '#include "storage/engine.h"'),
    ("layer", "server/core/a.cc", '#include "server/security/b.h"', '#include "base/rng.h"'),
    ("layer", "server/rpc/a.cc", '#include "server/http/b.h"', '#include "server/core/b.h"'),
    ("layer", "storage/a.cc", '#include "storage/rocksdb/b.h"', '#include "storage/b.h"'),
    ("layer", "storage/a.cc", '#include "server/core/b.h"', '#include "muster/storage/v1/s.pb.h"'),
    ("layer", "client/a.cc", '#include "storage/engine.h"', '#include "muster/v1/types.pb.h"'),
    ("layer", "client/a.cc", '#include "client/cli/b.h"', '#include "muster/client/c.h"'),
    ("layer", "client/cli/a.cc", '#include "server/core/b.h"', '#include "storage/rocksdb/e.h"'),
    ("layer", "server/main.cc", '#include "server/core/b.h"', '#include "server/app/b.h"'),
    ("layer", "base/a.cc", '#include "storage/b.h"', '#include "base/b.h"'),
    ("layer", "server/core/a.cc", '#include "catalog.h"', '#include "server/core/catalog.h"'),
    ("layer", "storage/a.cc", '#include "../base/rng.h"', '#include "base/rng.h"'),
    ("base", "base/a.cc", '#include "google/protobuf/message.h"', "#include <vector>"),
    ("base", "base/a.h", '#include "muster/v1/types.pb.h"', '#include "absl/time/time.h"'),
    ("jemalloc", "base/a.cc", "#include <jemalloc/jemalloc.h>", "#include <sys/mman.h>"),
    ("grpc", "server/core/a.cc", "#include <grpcpp/grpcpp.h>", '#include "muster/v1/types.pb.h"'),
    ("grpc", "storage/a.cc", '#include "muster/v1/registry.grpc.pb.h"',
     '#include "muster/v1/registry.pb.h"'),
    ("public", "client/include/muster/client/a.h", "#include <grpcpp/channel.h>",
     "#include <string>"),
    ("grpc", "server/http/a.cc", "#include <grpcpp/channel.h>", "#include <boost/beast/http.hpp>"),
    ("boost", "server/core/a.h", "#include <boost/asio.hpp>", "#include <bit>"),
    ("boost", "base/a.cc", '#include "boost/system/error_code.hpp"', "#include <bit>"),
    ("rocksdb", "server/app/a.cc", '#include "rocksdb/db.h"', '#include "storage/rocksdb/e.h"'),
    ("clock", "server/core/a.cc", "auto t = std::chrono::steady_clock::now();", "clock.Steady();"),
    ("clock", "server/rpc/a.cc", "auto t = absl::Now();", "// absl::Now() is not for us"),
    ("clock", "client/a.cc", "auto t = time(nullptr);", "auto t = lease.time(0);"),
    ("clock", "tests/unit/base/a.cc", "auto t = Clock::now();", "auto t = snow();"),
    ("sleep", "tests/unit/base/a.cc", "absl::SleepFor(d);", 'const char* s = "sleep(1)";'),
    ("sleep", "server/core/a.cc", "std::this_thread::sleep_for(d);", "timer.sleep(d);"),
    ("chance", "server/core/a.cc", "int x = rand();", "int x = rng.Next(); strand();"),
    ("chance", "storage/a.cc", "std::random_device d;", "/* std::random_device d; */"),
    ("environment", "server/rpc/a.cc", 'auto p = std::getenv("P");', "auto p = env.getenv();"),
    ("mutex", "tests/unit/base/a.cc", "std::mutex mu;", "base::Mutex mu;"),
    ("mutex", "server/core/a.h", "absl::Mutex mu;", "base::MutexLock lock(mu);"),
    ("thread", "server/core/a.cc", "std::thread t(f);", "std::thread::id id;"),
    ("socket", "server/core/a.cc", "int s = socket(AF_INET, 1, 0);", "transport.connect(a);"),
    ("socket", "server/health/a.cc", "getaddrinfo(host, 0, &h, &f);", "resolver.Resolve(host);"),
    ("marker", "tests/a.py", "# TO" "DO later", "# done"),
    ("marker", "server/core/a.cc", "int x;  // NOLI" "NT(x)", "int x;"),
    ("marker", "tests/unit/a.cc", "GTEST_SK" "IP();", "FAIL();"),
    ("length", "server/core/a.cc", "int x;\n" * (MAX_LINES + 1), "int x;\n" * MAX_LINES),
]


def self_test():
    failed = 0
    known = {"layer", "base", "public", "marker", "length", *LIBRARIES, *CALLS}
    for rule, path, bad, good in PLANTED:
        if rule not in rules_found(path, bad):
            failed += 1
            print(f"self-test: {rule} missed in {path}: {bad[:60]!r}")
        for _, found, message in check_file(path, good):
            failed += 1
            print(f"self-test: {found} wrongly found in {path}: {good[:60]!r}: {message}")
    for rule in sorted(known - {planted[0] for planted in PLANTED}):
        failed += 1
        print(f"self-test: nothing planted for {rule}")
    # Each exempt place holds only where it says so.
    for rule, (_, places) in CALLS.items():
        bad = next(planted[2] for planted in PLANTED if planted[0] == rule)
        path = places[0] if places[0].endswith((".cc", ".h")) else places[0] + "/a.cc"
        if rule in {found for _, found, _ in check_file(path, bad)}:
            failed += 1
            print(f"self-test: {rule} found in its own seam {path}")
    print(f"lint self-test: {len(PLANTED)} planted, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(self_test() if sys.argv[1:] == ["--self-test"] else check_tree())
