"""What `deploy/` says and does, as far as it needs no server; `tests/team` starts them."""

import importlib.util
import os
import re
import socket
import sys
from contextlib import closing

import pytest
import yaml
from running import REPOSITORY

DEPLOY = REPOSITORY / "deploy"


@pytest.fixture(scope="module")
def team():
    spec = importlib.util.spec_from_file_location("team", DEPLOY / "team.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DEPLOY / "compose.yml").read_text())


def test_the_containers_are_those_of_a_team(compose):
    assert set(compose["services"]) == {"postgres", "mlflow"}
    for service in compose["services"].values():
        assert {"healthcheck", "ports", "volumes", "restart"} <= set(service)
        for port in service["ports"]:
            assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", port)
        for volume in service["volumes"]:
            assert volume.partition(":")[0] in compose["volumes"]
    assert compose["services"]["mlflow"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert compose["services"]["postgres"]["configs"][0]["source"] in compose["configs"]


def test_their_password_comes_from_a_file_that_git_ignores(compose):
    for service, name in (("postgres", "POSTGRES_PASSWORD"), ("mlflow", "PGPASSWORD")):
        assert compose["services"][service]["environment"][name].startswith("${POSTGRES_PASSWORD:?")
    assert not any("PASSWORD" in word for word in compose["services"]["mlflow"]["command"])
    names = {line.partition("=")[0] for line in (DEPLOY / "env.example").read_text().splitlines()}
    assert {"POSTGRES_PASSWORD", "MLFLOW_PORT", "POSTGRES_PORT"} <= names
    assert {"/deploy/.env", "/team/"} <= set((REPOSITORY / ".gitignore").read_text().split())


def test_a_taken_port_is_one_line(team, tmp_path, capsys):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        service = team.Service("Made", tmp_path, port, "TEAM_PORT", ["false"])
        with pytest.raises(team.TeamError, match=f"port {port} of 127.0.0.1: .*: give another, TEAM_PORT="):
            service.start()
    assert not list(tmp_path.iterdir())


def test_a_service_that_ends_at_once_is_one_line(team, tmp_path):
    service = team.Service("Made", tmp_path, free_port(), "TEAM_PORT", ["false"])
    with pytest.raises(team.TeamError, match=r"^Made ended at once; see the end of .*made\.log$"):
        service.start()
    assert not (tmp_path / "made.pid").exists()


def test_a_service_is_started_once_and_stopped_whole(team, tmp_path):
    port = free_port()
    code = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    service = team.Service("Made", tmp_path, port, "TEAM_PORT", [sys.executable, "-c", parent])
    assert not service.running_at()
    service.start()
    before = (tmp_path / "made.pid").read_text()
    service.start()
    assert (tmp_path / "made.pid").read_text() == before
    elsewhere = team.Service("Made", tmp_path, free_port(), "TEAM_PORT", ["false"])
    with pytest.raises(team.TeamError, match=f"Made runs on port {port} already: say TEAM_PORT={port}"):
        elsewhere.start()
    os.kill(int(before.split()[0]), 9)  # its child is left, and has the port
    service.stop()
    assert not service.running_at()
    team.check_free(port, "TEAM_PORT")


def test_a_number_of_before_the_machine_was_started_is_nobodys(team, tmp_path):
    (tmp_path / "made.pid").write_text(f"{os.getpgrp()} 1 another-boot")
    service = team.Service("Made", tmp_path, free_port(), "TEAM_PORT", ["false"])
    assert not service.running_at()
    service.stop()  # or this process would be stopped


def test_the_password_is_its_owners_alone(team, tmp_path):
    path = tmp_path / "pgpass"
    path.write_text("of old, for all to read")
    team.write_private(path, "secret")
    assert (path.stat().st_mode & 0o777, path.read_text()) == (0o600, "secret")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
