#!/bin/sh
# Runs spiketape in a container, and tells the engine whether to start it again (restart: on-failure).
# INFLUX_TOKEN_FILE: file of the token for InfluxDB, written by the service `setup`.
# SIGTERM drains the flow. Exit codes after which the same start can only fail again end in 0: 2 wrong use, 4 fenced by a newer instance
# (two that start again would fence each other for ever), 5 state that does not fit. The log says which.
set -u
if [ -n "${INFLUX_TOKEN_FILE:-}" ]; then
    SPIKETAPE_INFLUX__TOKEN=$(cat "$INFLUX_TOKEN_FILE") || exit 1
    export SPIKETAPE_INFLUX__TOKEN
fi
child=
asked=
trap 'asked=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM INT
spiketape "$@" &
child=$!
[ -z "$asked" ] || kill -TERM "$child" 2>/dev/null
wait "$child"
code=$?
while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
done
case $code in
2 | 4 | 5)
    echo "not to be started again: exit code $code, see spiketape --help" >&2
    exit 0
    ;;
esac
exit "$code"
