"""What the README shows is true."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"python -m (search[.\w]*)((?: (?:--?[\w-]+|\w+))*)", README)))


def test_it_is_short_and_shows_the_whole_study() -> None:
    assert len(README.splitlines()) < 150
    assert (ROOT / "studies/mnist.py").read_text() in README


def test_it_names_every_command() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "search"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    for module in re.findall(r"python -m (search\.\w+)", listed.stdout):
        assert f"`python -m {module}" in README


@pytest.mark.parametrize(("module", "arguments"), COMMANDS)
def test_every_command_it_shows_has_these_options(module: str, arguments: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    for word in shlex.split(arguments):
        assert not word.startswith("-") or word in shown.stdout


def test_every_file_it_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_make_target_it_shows_exists() -> None:
    targets = re.findall(r"^([a-z.]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"make ([a-z.]+)", README)) <= set(targets)
