#!/bin/sh
# Makes topics, buckets, downsampling tasks and tokens, as often as wanted, and hands each side the token with the least rights.
set -eu
spiketape topics apply
spiketape influx apply
for name in writer reader; do
    spiketape influx token "$name" >"/run/$name/token.new"
    mv "/run/$name/token.new" "/run/$name/token"
done
