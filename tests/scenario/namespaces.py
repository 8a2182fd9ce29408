"""What tests in network namespaces share."""
import os
import subprocess
import sys


def skip(why):
    print(f"SKIPPED: {why}")
    sys.exit(1 if os.environ.get("CI") == "true" else 77)


def ip(*arguments):
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=20,
                          check=True)
