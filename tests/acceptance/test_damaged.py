"""Stores that somebody has damaged, or holds: one line says so, and the others go on."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulated import Simulation
from tests.site import Site, ended, site_in

WORK = Simulation(models=True)
# What is changed, how, and what is said of it.
DAMAGE = {
    "a description that is no JSON": ("UPDATE search_studies SET frozen = '{'", "of tiny"),
    "a description of another kind": ("UPDATE search_studies SET frozen = '[1]'", "of tiny"),
    "a description without its task": ("UPDATE search_studies SET frozen = '{}'", "of tiny"),
    "a budget that is no number": ("UPDATE search_studies SET trials = 'many'", "of tiny"),
    "an attribute that is no JSON": (
        "UPDATE trial_user_attributes SET value_json = 'x'",
        "of trial 0",
    ),
    "a distribution of nobody's": (
        'UPDATE trial_params SET distribution_json = \'{"name": "own", "attributes": {}}\'',
        "of trial 0",
    ),
    "a score that is no number": ("UPDATE trial_values SET value = 'high'", "of trial 0"),
    "a number beyond all trials": (
        "UPDATE trials SET number = 1000000000000 WHERE number = 1",
        "of trial 1000000000000",
    ),
    "a proof of another kind": (
        "UPDATE study_user_attributes SET value_json = '[]' WHERE key = 'proof'",
        "of tiny",
    ),
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A study that is done."""
    for site in site_in(tmp_path, f"sqlite:///{tmp_path}/store.db"):
        site.write(trials=2)
        assert run(site, "run", *site.study) == 0, site.said()
        (site.path / "said").unlink()
        yield site


def run(site: Site, command: str, *words: str) -> int | None:
    return ended(site.start(WORK, command, *words))[0]


def change(site: Site, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(site.path / "store.db")) as connection:
        assert connection.execute(statement).rowcount, statement
        connection.commit()


@pytest.mark.parametrize("what", DAMAGE)
def test_what_cannot_be_read_is_named_in_a_line(site: Site, what: str) -> None:
    statement, named = DAMAGE[what]
    change(site, statement)
    assert run(site, "run", *site.study) == 1
    [line] = site.said().splitlines()
    assert line.startswith(f"error: what the store holds {named} is not what this program writes")
    assert "put back a copy of the store, or start another study with --name" in line
    assert len(line) < 1000


def test_a_damaged_study_is_left_and_the_others_are_worked_on(site: Site) -> None:
    studies = site.path / "studies"
    studies.mkdir()
    text = (site.path / "tiny.py").read_text()
    (studies / "other.py").write_text(text.replace("'tiny'", "'other'"))
    created = ("--study", "other", "--no-confirm", "--timeout", "0")
    assert run(site, "run", *created) == 3, site.said()
    change(site, "UPDATE search_studies SET frozen = '{', source = 'other' WHERE name = 'tiny'")
    assert run(site, "worker", "--no-confirm") == 0, site.said()
    assert "tiny is skipped: what the store holds of tiny is not what" in site.said()
    assert site.counts_of("other") == {"done": 2}


def test_what_a_store_says_moves_no_terminal(site: Site) -> None:
    evil = "\x1b]0;evil\x07" + "a" * 10**5
    change(site, f"UPDATE search_studies SET source = '{evil}'")
    assert run(site, "worker", "--no-confirm") == 2
    assert "tiny is skipped: " in site.said()
    assert site.said().isascii()
    assert "\x1b" not in site.said()
    assert len(site.said()) < 5000


def test_half_a_character_costs_no_file(site: Site) -> None:
    half = r'"\ud800"'
    change(site, f"UPDATE trial_user_attributes SET value_json = '{half}' WHERE key = 'end'")
    assert run(site, "run", *site.study) == 0, site.said()
    assert r"\ud800" in (site.path / "runs/tiny/trials.csv").read_text()


def test_a_page_that_rots_is_not_taken_for_another_store(site: Site) -> None:
    file = site.path / "store.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'trials'")
        [(size,)] = connection.execute("PRAGMA page_size")
    with file.open("r+b") as opened:
        opened.seek((page - 1) * size)
        opened.write(b"\xff" * size)
    assert run(site, "run", *site.study) == 1
    assert "database disk image is malformed; mend that" in site.said()


def test_who_only_reads_waits_for_no_writer(site: Site) -> None:
    with contextlib.closing(sqlite3.connect(site.path / "store.db")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert run(site, "status", *site.study) == 0, site.said()
        with site.session() as session:
            assert len(session.evidence().trials) == 2
    assert "2 of 2 trials done" in site.said()


def test_a_worker_joins_what_is_there_without_the_lock(site: Site) -> None:
    with site.session() as session, session.store.database.exclusive():
        assert run(site, "worker", *site.study) == 0, site.said()
