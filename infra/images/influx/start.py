"""influxd, set up the first time as the variables DOCKER_INFLUXDB_INIT_... say, which are those of the image influxdb.

It is set up on another port before it listens where clients look for it, so whoever reaches it finds it set up.
"""

import json
import os
import subprocess
import time
import urllib.request

DATA = "/var/lib/influxdb2"
NAMES = {"username": "USERNAME", "password": "PASSWORD", "org": "ORG", "bucket": "BUCKET", "token": "ADMIN_TOKEN"}
PLACES = [f"--bolt-path={DATA}/influxd.bolt", f"--engine-path={DATA}/engine", f"--sqlite-path={DATA}/influxd.sqlite"]


def command(address: str) -> list[str]:
    """influxd on an address."""
    return ["influxd", "run", *PLACES, f"--http-bind-address={address}"]


def set_up() -> None:
    """Starts it where nobody looks, sets it up, and ends it."""
    server = subprocess.Popen(command("127.0.0.1:9999"))
    body = json.dumps({key: os.environ[f"DOCKER_INFLUXDB_INIT_{name}"] for key, name in NAMES.items()}).encode()
    while True:
        try:
            urllib.request.urlopen("http://127.0.0.1:9999/health", timeout=1).close()
            break
        except OSError:
            if server.poll() is not None:
                raise SystemExit("influxd ended before it was set up") from None
            time.sleep(0.1)
    urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:9999/api/v2/setup", body), timeout=30).close()
    server.terminate()
    server.wait()


if not os.path.exists(f"{DATA}/influxd.bolt"):
    set_up()
os.execvp("influxd", command(":8086"))
