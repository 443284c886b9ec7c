"""Kafka's jars from Maven: no distribution archive is needed. 45 jars, 42 MB, 5 seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

from infra.local.recipe import Recipe, Work
from infra.local.tools import JAVA, MAVEN

VERSION = "4.0.0"
POM = Path(__file__).with_name("kafka_pom.xml")


def _make(work: Work) -> None:
    shutil.copy(POM, work.folder / "pom.xml")
    with work.step(f"fetching the jars of Kafka {VERSION} from Maven"):
        work.run(
            "mvn",
            "--batch-mode",
            "--strict-checksums",
            f"-Dkafka.version={VERSION}",
            "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
            f"-DoutputDirectory={work.folder / 'libs'}",
        )


KAFKA = Recipe("kafka", VERSION, (JAVA, MAVEN), (f"libs/kafka_2.13-{VERSION}.jar", f"libs/kafka-clients-{VERSION}.jar"), _make)
