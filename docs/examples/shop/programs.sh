# shellcheck shell=bash
# Starts and ends the programs of the shop; sourced by `run` and `drill`. All of it ends with the
# script. SHOP_BIN: where the programs are built already; else they are built. musterd and muster are
# taken from there, too, or from the PATH. SHOP_LOG: a file that gets what they wrote to stderr.
set -euo pipefail

SHOP=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$SHOP/../../..
if [ -z "${SHOP_BIN:-}" ]; then
  "$ROOT/dev" build musterd muster shop >&2
  SHOP_BIN=$ROOT/build/release/bin
fi
die() { printf 'shop: %s\n' "$*" >&2; exit 1; }

# installed NAME: where this program of muster's is.
installed() {
  if [ -x "$SHOP_BIN/$1" ]; then
    printf '%s\n' "$SHOP_BIN/$1"
  else
    command -v "$1" || die "there is no $1 in $SHOP_BIN, nor on the PATH"
  fi
}
MUSTERD=$(installed musterd)
# shellcheck disable=SC2034 # of the scripts that source this
MUSTER=$(installed muster)

# await SECONDS COMMAND…: until it succeeds.
await() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}

WORK=$(mktemp -d)
# Snapshots of what the registry said.
export XDG_CACHE_HOME=$WORK/cache
declare -A PID=() PORT=()

says() { grep -q "$2" "$WORK/$1.out" 2>/dev/null; }
says_or_ended() { says "$@" || ! kill -0 "${PID[$1]}" 2>/dev/null; }

# launch NAME COMMAND…: its output goes to WORK/NAME.out.
launch() {
  local name=$1
  shift
  : >"$WORK/$name.out"
  "$@" >"$WORK/$name.out" 2>>"$WORK/log" &
  PID[$name]=$!
}

# The first time on a free port, later on the same one.
start_registry() {
  launch registry "$MUSTERD" --data-dir "$WORK/registry" \
    --grpc-listen "127.0.0.1:${PORT[registry]:-0}" --http-listen off --dns-listen off
  await 10 says registry '^ready' || die "the registry didn't start: $(tail -3 "$WORK/log")"
  PORT[registry]=$(sed -n 's/^ready grpc=127.0.0.1:\([0-9]*\).*/\1/p' "$WORK/registry.out")
  export MUSTER_ADDR=127.0.0.1:${PORT[registry]}
}

# start NAME PROGRAM: on its port, as above.
start() {
  launch "$1" "$SHOP_BIN/shop/$2" "${PORT[$1]:-0}"
  await 10 says "$1" 'listens on' || die "$1 didn't start: $(tail -3 "$WORK/log")"
  PORT[$1]=$(sed -n 's/.*listens on 127.0.0.1:\([0-9]*\)$/\1/p' "$WORK/$1.out")
}

start_all() {
  start product-1 product
  start product-2 product
  start cart-1 cart
  start payment-1 payment
  start order-1 order
  start gateway-1 gateway
  start gateway-2 gateway
}

# kill_hard NAME…: without a word.
kill_hard() {
  local name
  for name in "$@"; do
    kill -KILL "${PID[$name]}"
    wait "${PID[$name]}" 2>/dev/null || true
    unset "PID[$name]"
  done
}

end_all() {
  local name
  for name in "${!PID[@]}"; do kill -CONT "${PID[$name]}" 2>/dev/null || true; done
  for name in "${!PID[@]}"; do kill -TERM "${PID[$name]}" 2>/dev/null || true; done
  for name in "${!PID[@]}"; do wait "${PID[$name]}" 2>/dev/null || true; done
  [ -z "${SHOP_LOG:-}" ] || cp "$WORK/log" "$SHOP_LOG"
  rm -rf "$WORK"
}
trap end_all EXIT
trap 'exit 130' INT TERM
