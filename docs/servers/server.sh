#!/bin/sh
# server.sh NUMBER: starts one server of three on this machine, 1, 2 or 3. docs/operations.md goes through it. On machines of
# their own each has the same ports, and the addresses of the others stand in `routes`.
#
# Here beside it: `secrets/` with a password a file, nats.conf, nats-process.conf and nats-cluster.conf.
set -eu
cd "$(dirname "$0")"
quoted() { printf '"%s"' "$1"; }
route=$(cat secrets/route)
url() { quoted "nats://route:$route@127.0.0.1:$1"; }
export MUSTER_NATS_NAME=$(quoted "n$1")
export MUSTER_NATS_STORE=$(quoted "$PWD/n$1")
export MUSTER_NATS_CLUSTER_LISTEN=$(quoted "127.0.0.1:$((6221 + $1))")
export MUSTER_NATS_ROUTES="[$(url 6222), $(url 6223), $(url 6224)]"
export MUSTER_ROUTE_PASSWORD=$(quoted "$route")
export MUSTER_MANAGER_PASSWORD=$(quoted "$(cat secrets/manager)")
export MUSTER_WORKER_PASSWORD=$(quoted "$(cat secrets/worker)")
export MUSTER_API_PASSWORD=$(quoted "$(cat secrets/api)")
exec nats-server -c nats-cluster.conf -p $((4221 + $1)) -m $((8221 + $1)) -P "$PWD/n$1.pid" -l "$PWD/n$1.log"
