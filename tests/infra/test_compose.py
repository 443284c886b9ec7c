"""docker-compose.yml and the Dockerfile, checked without an engine: what they name is there, and they keep their promises."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from flows.cli.app import app
from flows.signals import parsed_partitions
from infra.local.influx_build import VERSION as INFLUX_VERSION
from infra.local.kafka_build import VERSION as KAFKA_VERSION
from infra.local.ports import free_port
from schemas.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
FLOWS = {name: s for name, s in SERVICES.items() if s.get("command", [""])[0] == "run"}
ONCE = {"setup", "demo"}
OURS = {*FLOWS, *ONCE}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
FLOW_SH = ROOT / "infra/images/flow.sh"


def environment(service: dict[str, Any]) -> dict[str, str]:
    """Variables with what docker compose would take from .env filled in."""
    return {k: re.sub(r"\$\{(\w+):\?[^}]*\}", r"value-of-\1", v) for k, v in service.get("environment", {}).items()}


def test_all_parts_of_the_system_are_there() -> None:
    assert {"kafka", "influx", "prometheus", "grafana", "setup", *FLOWS} <= SERVICES.keys()
    assert {s["command"][1] for s in FLOWS.values()} == {"signals", "book", "venue"}


@pytest.mark.parametrize("name", SERVICES.keys() - ONCE)
def test_service_is_watched_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped", "after the engine was away it does not start again what has another policy"


@pytest.mark.parametrize("name", FLOWS)
def test_flow_stays_where_starting_again_is_of_no_use(name: str) -> None:
    command, *options = FLOWS[name]["entrypoint"]
    assert f"COPY {FLOW_SH.relative_to(ROOT)} /usr/local/bin/{command}\n" in DOCKERFILE
    assert options == ["--stay"]


@pytest.mark.parametrize("name", OURS)
def test_our_processes_run_as_a_plain_user_without_capabilities(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert "USER 10001:10001" in DOCKERFILE


@pytest.mark.parametrize("name", FLOWS)
def test_flow_keeps_its_run_folder_in_a_volume_of_its_own(name: str) -> None:
    out = FLOWS[name]["command"][FLOWS[name]["command"].index("--out") + 1]
    volumes = {target: source for source, target in (v.split(":")[:2] for v in FLOWS[name]["volumes"])}
    source = volumes[str(Path(out).parent)]
    assert source in COMPOSE["volumes"]
    assert [n for n, s in SERVICES.items() if any(v.startswith(f"{source}:") for v in s.get("volumes", []))] == [name]
    assert f" {Path(out).parent} " in DOCKERFILE, "the folder must be there with the right owner, or the volume belongs to root"


@pytest.mark.parametrize("name", OURS)
def test_no_volume_hides_the_kernels_that_the_image_has_compiled(name: str) -> None:
    assert "spiketape replay" in DOCKERFILE
    assert not [v for v in SERVICES[name].get("volumes", []) if ":/home/spiketape" in v]


@pytest.mark.parametrize("name", FLOWS)
def test_command_of_a_flow_is_one_that_the_command_line_knows(name: str) -> None:
    command: Any = typer.main.get_command(app)
    arguments = list(FLOWS[name]["command"])
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    command.make_context(name, arguments)


def test_every_partition_has_one_process() -> None:
    partitions = Settings().partitions
    lists = [s["command"][s["command"].index("--partitions") + 1] for s in FLOWS.values() if "--partitions" in s["command"]]
    assert sorted(p for text in lists for p in parsed_partitions(text, partitions)) == list(range(partitions))


@pytest.mark.parametrize("name", OURS)
def test_settings_of_our_processes_can_be_read(name: str) -> None:
    baked = dict(re.findall(r"(SPIKETAPE_\w+)=(\S+)", DOCKERFILE))
    settings = load_settings(None, (), {**baked, **environment(SERVICES[name])})
    host, port = settings.kafka.bootstrap_servers.split(":")
    assert f"INSIDE://{host}:{port}" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert settings.influx.url == "http://influx:8086"
    assert settings.influx.org == SERVICES["influx"]["environment"]["DOCKER_INFLUXDB_INIT_ORG"]
    assert settings.influx.bucket == SERVICES["influx"]["environment"]["DOCKER_INFLUXDB_INIT_BUCKET"]
    assert settings.health.port == 9464


def test_no_secret_stands_in_the_file_and_each_must_be_given() -> None:
    given = {line.split("=")[0] for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line}
    text = (ROOT / "docker-compose.yml").read_text()
    assert set(re.findall(r"\$\{(\w+):\?", text)) == given
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|TOKEN$", key):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), key
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_flows_may_only_write_points_and_dashboards_may_only_read() -> None:
    assert [n for n, s in SERVICES.items() if "INFLUX_OWNER_TOKEN" in str(s)] == ["influx", "setup"]
    assert "writer-token:/run/writer:ro" in SERVICES["book"]["volumes"]
    assert "reader-token:/run/reader:ro" in SERVICES["grafana"]["volumes"]
    assert "writer" not in str(SERVICES["grafana"])


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], volume


def test_every_image_has_a_version_and_servers_are_those_of_the_tests() -> None:
    images = {n: re.sub(r"\$\{\w+:-([^}]+)\}", r"\1", s["image"]) for n, s in SERVICES.items()}
    assert not [i for i in images.values() if ":" not in i or i.endswith(":latest")]
    assert images["kafka"].endswith(f":{KAFKA_VERSION}")
    assert images["influx"].endswith(f":{INFLUX_VERSION}")


def test_prometheus_asks_every_flow() -> None:
    config = yaml.safe_load((ROOT / "infra/prometheus/prometheus.yml").read_text())
    (job,) = [j for j in config["scrape_configs"] if j["job_name"] == "spiketape"]
    asked = {(target, group["labels"]["flow"]) for group in job["static_configs"] for target in group["targets"]}
    assert asked == {(f"{name}:9464", s["command"][1]) for name, s in FLOWS.items()}


def test_dockerfile_copies_what_is_there() -> None:
    allowed = (ROOT / ".dockerignore").read_text()
    for line in re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source.split('/')[0]}\n" in allowed, source


def test_compose_itself_takes_the_file() -> None:
    found = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False) if shutil.which("docker") else None
    if found is None or found.returncode:
        pytest.skip("docker compose (version 2) is not installed: the file was checked without it")
    secrets = {"INFLUX_OWNER_TOKEN": "t", "INFLUX_OWNER_PASSWORD": "p", "GRAFANA_PASSWORD": "g"}
    command = ["docker", "compose", "--project-directory", str(ROOT), "config", "--quiet"]
    subprocess.run(command, env={**os.environ, **secrets}, check=True)


@pytest.fixture
def stand_in(tmp_path: Path) -> dict[str, str]:
    """An environment in which `spiketape` is a script that ends with the code that it is given, or waits for SIGTERM and drains."""
    script = tmp_path / "spiketape"
    script.write_text(
        '#!/bin/sh\n[ "$1" != run ] || shift\n[ "$1" = wait ] || { echo "token=${SPIKETAPE_INFLUX__TOKEN:-none}"; exit "$1"; }\n'
        "trap 'echo drained; exit 143' TERM\necho waits\nwhile :; do sleep 0.05; done\n"
    )
    script.chmod(0o755)
    return {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "TMPDIR": str(tmp_path)}


@pytest.mark.parametrize("code", range(7))
def test_exit_code_is_that_of_the_command(stand_in: dict[str, str], code: int) -> None:
    for stay in ([], ["--stay"]):
        assert subprocess.run([FLOW_SH, *stay, str(code)], env=stand_in, capture_output=True, text=True, check=False).returncode == code


@pytest.mark.parametrize("code", [1, 3, 6])
def test_container_ends_where_starting_again_can_help(stand_in: dict[str, str], code: int) -> None:
    ended = subprocess.run([FLOW_SH, "--stay", "run", str(code)], env=stand_in, capture_output=True, text=True, check=False)
    assert ended.returncode == code


@pytest.mark.parametrize("code", [0, 2, 4, 5])
def test_container_stays_where_starting_again_is_of_no_use_until_it_is_stopped(stand_in: dict[str, str], code: int) -> None:
    over = Path(stand_in["TMPDIR"], "over")
    container = subprocess.Popen([FLOW_SH, "--stay", "run", str(code)], env=stand_in, stderr=subprocess.PIPE, text=True)
    assert container.stderr is not None
    if code == 0:
        while not over.exists():
            time.sleep(0.01)
    else:
        assert f"exit code {code}" in container.stderr.readline()
    with pytest.raises(subprocess.TimeoutExpired):
        container.wait(0.5)
    assert over.exists() == (code == 0)
    container.send_signal(signal.SIGTERM)
    assert container.wait() == code


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("over", [False, True])
def test_container_is_healthy_while_its_flow_answers_and_when_its_stream_is_over(name: str, over: bool, tmp_path: Path) -> None:
    _, *check = FLOWS[name]["healthcheck"]["test"]
    assert "'/tmp/over'" in check[-1]
    if over:
        (tmp_path / "over").touch()
    here = check[-1].replace("/tmp", str(tmp_path)).replace(":9464", f":{free_port()}")
    asked = subprocess.run([*check[:-1], here], capture_output=True, check=False)
    assert (asked.returncode == 0) == over


def test_sigterm_of_the_engine_drains_the_flow(stand_in: dict[str, str]) -> None:
    container = subprocess.Popen([FLOW_SH, "--stay", "run", "wait"], env=stand_in, stdout=subprocess.PIPE, text=True)
    assert container.stdout is not None
    assert container.stdout.readline() == "waits\n"
    container.send_signal(signal.SIGTERM)
    assert container.communicate()[0] == "drained\n"
    assert container.returncode == 143


def test_token_comes_from_the_file_that_setup_has_written(stand_in: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of the writer\n")
    with_file = {**stand_in, "INFLUX_TOKEN_FILE": str(tmp_path / "token")}
    assert subprocess.run([FLOW_SH, "0"], env=with_file, capture_output=True, text=True, check=True).stdout == "token=of the writer\n"
    lacking = {**stand_in, "INFLUX_TOKEN_FILE": str(tmp_path / "none")}
    assert subprocess.run([FLOW_SH, "0"], env=lacking, capture_output=True, text=True, check=False).returncode == 1
