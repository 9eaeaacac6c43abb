"""What the README and the pages of docs/ show is true."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from search.__main__ import COMMANDS
from tests.command_lines import parse, shown

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINES = sorted({shlex.join(words) for page in PAGES for words in shown(page.read_text())})


def test_it_is_short_and_shows_the_whole_study() -> None:
    assert len(README.splitlines()) < 150
    assert (ROOT / "studies/mnist.py").read_text() in README


def test_it_names_every_command() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "search"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    for module in re.findall(r"python -m (search\.\w+)", listed.stdout):
        assert f"`python -m {module}" in README


def test_the_lines_of_all_pages_are_found() -> None:
    assert {
        "python -m search.run --data houses.csv --label price",  # of the README's blocks
        "python -m search.replay --study mnist --trial 7",  # of its table
        "python -m search.findings --study NAME --by activation --reach 0.88 --health",
        "python -m search.data NAME",
        "python -m search.dashboard",
    } < set(LINES)


@pytest.mark.parametrize("line", LINES)
def test_every_command_line_is_one_that_we_have(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FOLDER").mkdir()
    _, _, module, *arguments = words = shlex.split(line)
    assert module in COMMANDS
    if arguments:  # without, it is the command that is meant
        parse(words)


def test_every_file_it_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_make_target_it_shows_exists() -> None:
    targets = re.findall(r"^([a-z.]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"make ([a-z.]+)", README)) <= set(targets)
