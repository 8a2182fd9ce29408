#!/usr/bin/env bash
# Gets the foreign programs that the tests talk to muster with into a cache outside the tree:
#   peers.sh grpcurl     prints the path of the program
#   peers.sh node        prints a NODE_PATH with @grpc/grpc-js and @grpc/proto-loader
#   peers.sh python      prints an interpreter that has grpcio and its compiler for stubs
#   peers.sh go-plugins  prints a directory with protoc-gen-go and protoc-gen-go-grpc
# Versions are pinned here and beside this script, and build with what Debian 12 offers: Go 1.19,
# Node 18, Python 3.11. What is there already is only looked at; a lock keeps tests that run at the
# same time from building it twice. Exit code 77, with one line why, when a peer can't be had.
set -euo pipefail

GRPCURL=v1.9.1
PROTOC_GEN_GO=v1.33.0
PROTOC_GEN_GO_GRPC=v1.3.0

here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
cache=${MUSTER_PEER_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/muster-peers}

skip() { printf 'peers: %s\n' "$*" >&2; exit 77; }

why() { grep -i -m 1 error "$1" || tail -n 1 "$1"; }

# go_install MODULE@VERSION: into $target.
go_install() { GOBIN=$target GOFLAGS=-buildvcs=false GOTOOLCHAIN=local go install "$1"; }

get_grpcurl() {
  go_install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$GRPCURL"
}

get_go_plugins() {
  go_install "google.golang.org/protobuf/cmd/protoc-gen-go@$PROTOC_GEN_GO"
  go_install "google.golang.org/grpc/cmd/protoc-gen-go-grpc@$PROTOC_GEN_GO_GRPC"
}

get_node() {
  cp "$here/node/package.json" "$here/node/package-lock.json" "$target"
  npm ci --prefix "$target" --no-audit --no-fund --ignore-scripts
}

get_python() {
  python3 -m venv "$target"
  "$target/bin/pip" install --disable-pip-version-check -r "$here/python/requirements.txt"
}

# The pins are part of the directory's name: new pins are a new peer.
pins() {
  case $1 in
    grpcurl) echo "$GRPCURL" ;;
    go-plugins) echo "$PROTOC_GEN_GO-$PROTOC_GEN_GO_GRPC" ;;
    node) cksum <"$here/node/package-lock.json" | tr ' ' - ;;
    python) cksum <"$here/python/requirements.txt" | tr ' ' - ;;
  esac
}

peer=${1:-}
case $peer in
  grpcurl) tools="go" found=/grpcurl ;;
  go-plugins) tools="go" found= ;;
  node) tools="node npm" found=/node_modules ;;
  python) tools="python3" found=/bin/python ;;
  *) echo "usage: peers.sh grpcurl|node|python|go-plugins" >&2; exit 2 ;;
esac
target=$cache/$peer-$(pins "$peer")

# The mark is written last; a venv whose interpreter was removed is no longer whole.
whole() { [ -e "$target/.whole" ] && [ -e "$target$found" ]; }

if ! whole; then
  for tool in $tools; do
    command -v "$tool" >/dev/null || skip "no $peer without the program $tool"
  done
  mkdir -p "$cache" 2>/dev/null || skip "can't write to $cache"
  exec 9>"$target.lock"
  flock 9
  if ! whole; then
    rm -rf "$target"
    mkdir "$target"
    # Not under an `if`, which would switch `set -e` off inside.
    set +e
    (set -e; "get_${peer/-/_}") >"$target.log" 2>&1
    code=$?
    set -e
    [ $code -eq 0 ] || skip "$peer can't be had: $(why "$target.log") (all of it: $target.log)"
    touch "$target/.whole"
  fi
fi
printf '%s\n' "$target$found"
