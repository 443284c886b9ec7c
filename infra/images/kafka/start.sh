#!/bin/sh
# KAFKA_NODE_ID=1 becomes node.id=1, and so on; storage is formatted the first time.
set -eu
config=/tmp/server.properties
env | sed -n 's/^KAFKA_\([A-Z_]*\)=\(.*\)$/\1=\2/p' | while IFS='=' read -r name value; do
    echo "$(echo "$name" | tr 'A-Z_' 'a-z.')=$value"
done >"$config"
export CLASSPATH='/opt/kafka/libs/*'
if [ ! -e "$KAFKA_LOG_DIRS/meta.properties" ]; then
    java kafka.tools.StorageTool format --cluster-id "${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}" --config "$config"
fi
exec java -Xmx512m kafka.Kafka "$config"
