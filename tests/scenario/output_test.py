"""muster as a process: an output that can't be written is exit 1 with a message, never a signal.

usage: output_test.py BIN_DIR
"""
import os
import subprocess
import sys

MUSTER = f"{sys.argv[1]}/muster"
MESSAGE = "muster: standard output can't be written\n"


def run(stdout, *arguments):
    result = subprocess.run([MUSTER, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True,
                            timeout=30, check=False)
    assert (result.returncode, result.stderr) == (1, MESSAGE), (arguments, result)


def main():
    with open("/dev/full", "w", encoding="ascii") as full:
        for words in (["--help"], ["--version"], ["help", "watch"]):
            run(full, *words)
            reader, writer = os.pipe()
            os.close(reader)
            run(writer, *words)
            os.close(writer)


main()
