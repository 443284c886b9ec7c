#!/bin/sh
# Runs spiketape in a container. SIGTERM drains a flow.
# INFLUX_TOKEN_FILE: file of the token for InfluxDB, written by the service `setup`.
# --stay, before the command: for a container that the engine starts again whenever it ends (restart: unless-stopped), so also after the
# engine or its machine was away. Where starting again is of no use, it stays until it is stopped: 0 the stream is over, 2 wrong use, 4
# fenced by a newer instance (two that start again would fence each other for ever), 5 state that does not fit. The log says which. Commands
# other than `run` end as ever.
set -u
over=${TMPDIR:-/tmp}/over # the stream is over: the container is well though nobody answers
rm -f "$over"
stay=
if [ "${1:-}" = --stay ]; then
    shift
    [ "${1:-}" != run ] || stay=1
fi
if [ -n "${INFLUX_TOKEN_FILE:-}" ]; then
    SPIKETAPE_INFLUX__TOKEN=$(cat "$INFLUX_TOKEN_FILE") || exit 1
    export SPIKETAPE_INFLUX__TOKEN
fi
child=
asked=
trap 'asked=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM INT
finish() { # waits until the child has ended; its exit code is in `code`
    [ -z "$asked" ] || kill -TERM "$child" 2>/dev/null
    wait "$child"
    code=$?
    while kill -0 "$child" 2>/dev/null; do
        wait "$child"
        code=$?
    done
}
spiketape "$@" &
child=$!
finish
ended=$code
[ -n "$stay" ] && [ -z "$asked" ] || exit "$ended"
case $ended in
0) : >"$over" ;;
2 | 4 | 5) echo "not started again, exit code $ended: see spiketape --help; when that is mended, restart the container" >&2 ;;
*) exit "$ended" ;;
esac
sleep infinity &
child=$!
finish
exit "$ended"
