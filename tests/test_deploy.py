"""What launches the service keeps its specifications, calls our commands, holds no password."""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import click
import kubernetes_validate
import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner
from sqlalchemy.engine import make_url

from search.__main__ import COMMANDS
from tests.command_lines import ours, parse
from tests.simulated import Simulation

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
SLURM = (ROOT / "deploy/slurm.sh").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
INTERPOLATED = re.compile(r"\$\{(\w+):-([^}]*)\}")

Yaml = dict[str, Any]
Process: TypeAlias = "subprocess.Popen[str]"


def compose(file: str = "docker-compose.yml") -> Yaml:
    content: Yaml = yaml.safe_load((ROOT / file).read_text())
    return content


def manifest() -> dict[str, Yaml]:
    """Return the manifest's objects, each as Kind/name."""
    objects = yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text())
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in objects}


def pods() -> dict[str, Yaml]:
    """Return the specifications of the pods that the manifest makes."""
    return {
        name: one["spec"]["template"]["spec"]
        for name, one in manifest().items()
        if "template" in one.get("spec", {})
    }


def containers() -> dict[str, Yaml]:
    return {
        f"{name}/{container['name']}": container
        for name, pod in pods().items()
        for container in [*pod.get("initContainers", []), *pod["containers"]]
    }


SERVICES: dict[str, Yaml] = compose()["services"]
OBJECTS, CONTAINERS = manifest(), containers()

# -- schemas ---------------------------------------------------------------------------------


def refused_by_compose(content: Yaml, folder: Path) -> bool:
    path = folder / "compose.json"
    path.write_text(json.dumps(content))
    words = ["--builtin-schema", "vendor.compose-spec", str(path)]
    done = CliRunner().invoke(check_jsonschema, words)
    assert done.exit_code in (0, 1), done.output  # others: it could not be checked
    return done.exit_code == 1


@pytest.mark.parametrize("file", ["docker-compose.yml", "docker-compose.gpu.yml"])
def test_compose_files_keep_the_specification(file: str, tmp_path: Path) -> None:
    assert not refused_by_compose(compose(file), tmp_path)


@pytest.mark.parametrize(
    ("file", "path", "value"),
    [
        ("docker-compose.yml", "services.workers.comand", ["python"]),
        ("docker-compose.yml", "services.workers.stop_grace_period", 30),
        ("docker-compose.yml", "services.run.depends_on.db.condition", "healthy"),
        ("docker-compose.yml", "services.db.healthcheck.retries", [20]),
        ("docker-compose.gpu.yml", "services.workers.deploy.resources.reservations.gpus", 1),
    ],
)
def test_a_broken_compose_file_is_refused(
    file: str, path: str, value: object, tmp_path: Path
) -> None:
    content = compose(file)
    put(content, path, value)

    assert refused_by_compose(content, tmp_path)


def put(content: Yaml, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        content = content[parent]
    content[last] = value


# The oldest that has all we use in its stable interface, and the newest that is known here.
KUBERNETES = ["1.31", kubernetes_validate.latest_version()]


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", OBJECTS)
def test_the_manifest_keeps_the_interface_of_kubernetes(name: str, version: str) -> None:
    kubernetes_validate.validate(OBJECTS[name], version, strict=True)


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("Job/search-workers", "spec.parallelism", "four"),
        ("Job/search-workers", "spec.paralelism", 4),
        ("Job/search-workers", "spec.template.spec.containers", None),
        ("StatefulSet/search-db", "spec.selector", "search-db"),
        ("Service/search-db", "spec.ports", {"port": 5432}),
    ],
)
def test_a_broken_manifest_is_refused(name: str, path: str, value: object) -> None:
    broken = manifest()[name]
    put(broken, path, value)

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES[-1], strict=True)


# -- command lines ---------------------------------------------------------------------------


def interpolated(words: list[str]) -> list[str]:
    """Return words as they are where no variable is set."""
    return [INTERPOLATED.sub(r"\2", word) for word in words]


def service_line(name: str) -> list[str]:
    """Return a service's command line; that of `run` goes on as the file's own head shows it."""
    service = SERVICES[name]
    words = [*service.get("entrypoint", []), *service.get("command", [])]
    if shown := re.search(rf"docker compose run --rm {name} (.*?)(  |\n)", COMPOSE_TEXT):
        words += shown[1].split()
    return interpolated(words)


def slurm_line() -> list[str]:
    script = INTERPOLATED.sub(r"\2", SLURM.replace("\\\n", " "))
    (line,) = re.findall(r"^exec srun .*? \S*/python (.*)$", script, re.MULTILINE)
    return ["python", *shlex.split(line)]


def lines() -> Iterator[tuple[str, list[str]]]:
    """Return every command line of ours, and where it is."""
    yield from ((f"compose {name}", service_line(name)) for name in SERVICES)
    for name, container in CONTAINERS.items():
        yield name, [*container.get("command", []), *container.get("args", [])]
    yield "slurm", slurm_line()


LINES = {name: words for name, words in lines() if ours(words)}


def test_the_command_lines_are_found() -> None:
    assert LINES.keys() >= {
        *("compose workers", "compose dashboard", "compose run", "slurm"),
        *("Job/search-workers/worker", "Deployment/search-dashboard/dashboard"),
    }


@pytest.mark.parametrize("words", LINES.values(), ids=LINES)
def test_every_command_line_is_one_that_we_have(words: list[str]) -> None:
    assert words[2] in COMMANDS
    parse(words)


@pytest.mark.parametrize("wrong", ["--stduy=mnist", "--study", "--lanes=many", "mnist"])
def test_a_wrong_command_line_is_refused(wrong: str) -> None:
    with pytest.raises(click.UsageError):
        parse([*LINES["compose run"], wrong])


def launch(name: str, folder: Path, simulation: Simulation | None = None) -> Process:
    """Start a service's command line on this machine, with the small study, on a store there."""
    variables = {"OPTUNA_STORAGE": f"sqlite:///{folder / 'search.db'}", "PYTHONPATH": str(ROOT)}
    words = [word.replace("mnist", "blobs") for word in service_line(name)]
    if simulation:
        words[2:3] = ["tests.simulated", words[2].removeprefix("search.")]
        variables |= simulation.environment()
    return subprocess.Popen(
        [sys.executable, *words[1:]],
        cwd=folder,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_a_worker_and_a_run_meet_the_budget_and_report(tmp_path: Path) -> None:
    simulation = Simulation(models=True)
    finish(launch("workers", tmp_path, simulation))
    with contextlib.closing(sqlite3.connect(tmp_path / "search.db")) as store:
        states = store.execute("SELECT DISTINCT state FROM search_tickets").fetchall()
    assert states == [("done",)]

    finish(launch("run", tmp_path, simulation))
    proof = json.loads((tmp_path / "runs/blobs/best.json").read_text())
    assert proof["target_met"]


def finish(process: Process) -> None:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said


def test_the_dashboard_answers_and_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = SERVICES["dashboard"]["command"]
    monkeypatch.setitem(
        SERVICES["dashboard"], "command", [word.replace("8080", str(port)) for word in command]
    )
    monkeypatch.delenv("DASHBOARD_PASSWORD", raising=False)

    process = launch("dashboard", tmp_path)
    try:
        wait_for(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, process.communicate()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/dashboard", timeout=60) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


# -- the services ----------------------------------------------------------------------------


def test_up_starts_all_but_the_run() -> None:
    assert {name for name, one in SERVICES.items() if "profiles" not in one} == {
        *("db", "workers", "dashboard")
    }
    # One that `run` needs is only started with it where they share a profile.
    for name in SERVICES["run"]["depends_on"]:
        assert SERVICES[name].get("profiles", ["run"]) == SERVICES["run"]["profiles"]


def test_workers_scale_and_need_only_the_database() -> None:
    workers = SERVICES["workers"]

    assert workers.keys().isdisjoint({"container_name", "hostname", "ports"})
    assert workers["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert workers["restart"] == "on-failure"


@pytest.mark.parametrize("name", ["workers", "dashboard", "run"])
def test_signals_reach_the_program(name: str) -> None:
    """A command in one string would be a shell's, which passes no signal on."""
    service = SERVICES[name]

    assert isinstance(service.get("command", []), list)
    assert isinstance(service.get("entrypoint", []), list)
    assert service["stop_signal"] == "SIGTERM"


def test_only_this_machine_reaches_what_is_published() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert published == ["127.0.0.1:8080:8080"]
    assert all(service["spec"].get("type", "ClusterIP") == "ClusterIP" for service in exposed())


def exposed() -> list[Yaml]:
    return [one for name, one in OBJECTS.items() if name.startswith("Service/")]


def test_gpus_are_for_what_trains_and_on_one_image() -> None:
    services = compose("docker-compose.gpu.yml")["services"]
    built = {name for name, one in SERVICES.items() if "build" in one}

    assert {name for name, one in services.items() if "deploy" in one} == {"workers", "run"}
    assert services.keys() == built
    assert {one["build"]["args"]["EXTRAS"] for one in services.values()} == {"gpu"}


# -- passwords -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_its_passwords_from_the_environment(name: str) -> None:
    environment = SERVICES[name].get("environment", {})
    secrets = {key: value for key, value in environment.items() if "PASS" in key}

    for key, value in secrets.items():
        assert value is None or re.fullmatch(r"\$\{POSTGRES_PASSWORD:\?[^}]+\}", value), key
    assert ("PGPASSWORD" in secrets) == ("OPTUNA_STORAGE" in environment)
    assert "POSTGRES_PASSWORD" in secrets or name != "db"


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_has_its_passwords_from_the_secret(name: str) -> None:
    keys = OBJECTS["Secret/search"]["stringData"].keys()
    variables = {one["name"]: one for one in CONTAINERS[name].get("env", [])}
    for variable, one in variables.items():
        if "PASS" in variable:
            reference = one["valueFrom"]["secretKeyRef"]
            assert reference["name"] == "search"
            assert reference["key"] in keys
    assert ("PGPASSWORD" in variables) == ("OPTUNA_STORAGE" in variables)


def test_the_manifest_has_no_password_that_would_work() -> None:
    """PostgreSQL's image refuses an empty one, so nobody can forget to choose."""
    assert set(OBJECTS["Secret/search"]["stringData"].values()) == {""}


def test_no_address_or_command_line_holds_a_password() -> None:
    environments = [service.get("environment", {}) for service in SERVICES.values()]
    for container in CONTAINERS.values():
        environments += [{one["name"]: one.get("value") for one in container.get("env", [])}]
    urls = [one["OPTUNA_STORAGE"] for one in environments if "OPTUNA_STORAGE" in one]

    assert len(urls) == 5
    assert {make_url(url).password for url in urls} == {None}
    assert {make_url(url).host for url in urls} == {"db", "search-db"}
    assert not [name for name, words in LINES.items() if "PASS" in " ".join(words)]


def test_the_file_of_passwords_stays_on_this_machine() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    assert ignored()[0] == "*"


# -- the image -------------------------------------------------------------------------------


def ignored() -> list[str]:
    text = (ROOT / ".dockerignore").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def copied() -> list[str]:
    found = re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE)
    return [source for sources in found for source in sources.split()]


def of_image() -> tuple[set[str], str]:
    """Return the options of the image's one installation, and what is installed."""
    (step,) = re.findall(r"-m pip install (.*?)(?:&&|$)", DOCKERFILE, re.MULTILINE)
    *options, what = step.replace("--constraint ", "--constraint=").split()
    return set(options), what.strip("'\"")


def test_the_image_installs_as_make_does() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (pip,) = re.findall(r"-m pip install (.*?) \$\(1\)$", makefile, re.MULTILINE)
    make = set(pip.replace("--constraint ", "--constraint=").split())
    image, _ = of_image()

    assert "--constraint=requirements.lock" in make
    assert image - make == {"--no-cache-dir"}
    assert make - image == set()
    steps = re.findall(r"\$\(call install,'?(.*?)'?\)$", makefile, re.MULTILINE)
    assert steps == [".", ".[test$(comma)jax]"]


@pytest.mark.parametrize("extras", ["", "gpu", "gpu,jax"])
def test_the_argument_of_the_build_chooses_extras(extras: str) -> None:
    _, what = of_image()
    shell = ["sh", "-c", f'printf %s "{what}"']
    done = subprocess.run(shell, env={"EXTRAS": extras}, capture_output=True, text=True, check=True)

    assert re.search(r'^ARG EXTRAS=""$', DOCKERFILE, re.MULTILINE)
    assert done.stdout == (f".[{extras}]" if extras else ".")
    assert (
        set(filter(None, extras.split(","))) <= PROJECT["project"]["optional-dependencies"].keys()
    )


def test_the_image_can_reach_postgresql() -> None:
    """The base has no libpq, so the driver must bring its own."""
    assert "apt-get" not in DOCKERFILE
    assert any(one.startswith("psycopg[binary]") for one in PROJECT["project"]["dependencies"])


def test_the_image_gets_every_file_that_it_copies() -> None:
    sent = {line.removeprefix("!") for line in ignored() if line.startswith("!")}

    assert set(copied()) == sent
    assert all((ROOT / source).exists() for source in sent)


def test_the_image_has_every_package() -> None:
    """Our code is copied after it was installed, so what is installed must be whole folders."""
    find = PROJECT["tool"]["setuptools"]["packages"]["find"]
    tops = {pattern.removesuffix("*") for pattern in find["include"]}
    folders = {path.parent for top in tops for path in (ROOT / top).rglob("*.py")}
    placed = re.search(r"mkdir (.*?) +&&", DOCKERFILE)

    assert [one for one in folders if not (one / "__init__.py").exists()] == []
    assert placed is not None
    assert set(placed[1].split()) == tops
    assert tops <= set(copied())


def test_nothing_of_ours_runs_as_root() -> None:
    user = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1]
    created = re.search(r"useradd --uid (\d+) .*?(\S+) +&&", DOCKERFILE)
    assert created is not None
    assert created[2] == user

    assert {name for name, one in SERVICES.items() if one.get("user") == "root"} == {"folder"}
    assert SERVICES["folder"]["image"] == SERVICES["db"]["image"]
    assert SERVICES["run"]["user"] == f"${{UID:-{created[1]}}}:${{GID:-{created[1]}}}"
    for name, pod in pods().items():
        assert pod["securityContext"]["runAsNonRoot"], name
        ours = any("hyperparameter-search" in one["image"] for one in pod["containers"])
        assert (pod["securityContext"]["runAsUser"] == int(created[1])) == ours, name


def test_base_images_are_pinned() -> None:
    (base,) = re.findall(r"^FROM (\S+)$", DOCKERFILE, re.MULTILINE)
    databases = {one["image"] for one in SERVICES.values() if "image" in one}
    databases |= {one["image"] for one in CONTAINERS.values() if "postgres" in one["image"]}

    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base)
    assert len(databases) == 1
    assert re.fullmatch(r"postgres:\d+-\w+", databases.pop())


# -- Slurm -----------------------------------------------------------------------------------


def slurm(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", *words, str(ROOT / "deploy/slurm.sh")],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_slurm_script_is_bash() -> None:
    done = slurm("-n")

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("environment", "said"),
    [({}, "OPTUNA_STORAGE"), ({"OPTUNA_STORAGE": "sqlite:///x.db"}, "submit this script")],
)
def test_the_slurm_script_says_what_it_lacks(environment: dict[str, str], said: str) -> None:
    done = slurm(**environment)

    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
