#!/usr/bin/env bash
# contains_its_libraries_test.sh PROGRAM LINKS_ARCHIVES: of shared libraries it needs those of C and
# OpenSSL only.
set -euo pipefail
needed=$(LC_ALL=C readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
[ -n "$needed" ] || { echo "readelf names no library"; exit 1; }
others=$(grep -vE '^(libc|libm|libresolv|libssl|libcrypto|ld-linux[a-z0-9-]*)\.so\.[0-9]+$' <<<"$needed" || true)
[ -n "$others" ] || exit 0
echo "it needs: $others"
if [ "$2" != ON ] && [ "${CI:-}" != true ]; then
  echo "SKIPPED: an archive is missing, or MUSTER_ARCHIVES is OFF"
  exit 77
fi
exit 1
