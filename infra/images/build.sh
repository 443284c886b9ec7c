#!/usr/bin/env bash
# Images of the servers and of spiketape where no registry can be reached: from Debian (debootstrap, as root) and from what `make servers` made.
#   make servers && infra/images/build.sh .env && docker compose up -d kafka influx prometheus signals-a signals-b book venue
# Writes the images' names into the file that is given, for docker compose. Grafana is not made here.
set -euo pipefail
names=${1:?where to write the names of the images, such as .env}
cd "$(dirname "$0")/../.."
servers=${SPIKETAPE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/spiketape}/servers
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! docker image inspect spiketape-base:local >/dev/null 2>&1; then
    debootstrap --variant=minbase --include=openjdk-17-jre-headless,ca-certificates,python3,python3-venv,wget bookworm "$work/root"
    # pip in the image trusts whom this machine trusts: behind a proxy with a certificate of its own the index is not reached otherwise.
    cp -L "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$work/root/etc/ssl/certs/ca-certificates.crt"
    tar -C "$work/root" -c . | docker import - spiketape-base:local
fi

server() { # name, folder of the program, files
    local name=$1 from=$2
    shift 2
    mkdir "$work/$name"
    cp -r "infra/images/$name/." "$work/$name/"
    for file in "$@"; do cp -rL "$from/$file" "$work/$name/"; done
    docker build --quiet --tag "spiketape-$name:local" "$work/$name"
}
server kafka "$servers"/kafka-*/ libs
server influx "$servers"/influxd-*/ influxd
server prometheus "$servers"/prometheus-*/ prometheus promtool
docker build --quiet --tag spiketape:local --build-arg PYTHON_IMAGE=spiketape-base:local --network host .
cat >>"$names" <<'END'
KAFKA_IMAGE=spiketape-kafka:local
INFLUX_IMAGE=spiketape-influx:local
PROMETHEUS_IMAGE=spiketape-prometheus:local
END
