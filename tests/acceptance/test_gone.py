"""A store that is deleted or replaced under those who work on it: they notice it and leave."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search.store import Store, tables
from tests.postgres import Postgres
from tests.simulated import Simulation
from tests.site import Site, ended, site_in, wait_until

TRIALS, EPOCHS = 3, 2


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    yield from site_in(tmp_path, f"sqlite:///{tmp_path}/store.db")


def assert_noticed(site: Site, hold: int, *commands: tuple[str, ...]) -> Callable[[], None]:
    """Start processes that wait after so many epochs; return what asserts how they all leave."""
    simulation = Simulation(hold=hold, models=True, beat=0.05, checkpoint=0)
    for command in commands:
        site.start(simulation, *command)
    wait_until(lambda: len(site.epochs()) >= hold, "they work")
    with site.session() as session:
        wait_until(lambda: len(session.leases.members()) == len(commands), "all have joined")

    def check() -> None:
        # Nobody lets them go on: in the midst of an epoch, they leave by themselves.
        assert ended(*site.processes) == [1] * len(commands), site.said()
        errors = re.findall("^error: .*$", site.said(), re.MULTILINE)
        assert len(errors) == len(commands), site.said()
        assert {line.partition(":")[0] for line in errors} == {"error"}
        assert all("no longer the one that this process opened" in line for line in errors), errors
        # Each that was in an epoch when the last one counted may have ended it.
        assert len(site.epochs()) < hold + len(commands), "nothing was trained on"
        assert not (site.path / "runs/tiny/best.json").exists()

    return check


@pytest.mark.parametrize("change", ["deleted", "replaced", "written over"])
def test_a_file_that_is_deleted_or_replaced_is_missed_by_all(site: Site, change: str) -> None:
    site.write(TRIALS, EPOCHS)
    check = assert_noticed(site, 3, ("run", *site.study), ("worker", *site.study))
    file, other = site.path / "store.db", site.path / "other.db"
    Store(f"sqlite:///{other}", create=True).close()
    if change == "deleted":
        for one in site.path.glob("store.db*"):
            one.unlink()
    elif change == "replaced":  # by a backup, as it is restored
        other.replace(file)
    else:
        shutil.copyfile(other, file)
    check()
    assert file.exists() == (change != "deleted"), "nobody made another one"


def test_a_confirmation_is_not_brought_to_its_end_for_nobody(site: Site) -> None:
    site.write(TRIALS, EPOCHS)
    check = assert_noticed(site, TRIALS * EPOCHS + 1, ("run", *site.study))
    (site.path / "store.db").rename(site.path / "moved.db")
    check()


@pytest.mark.parametrize("anew", ["dropped", "empty", "emptied", "another store"])
def test_a_database_that_is_dropped_or_made_anew_is_missed_by_all(
    tmp_path: Path, postgres: Postgres, anew: str
) -> None:
    Store(postgres.create("spare"), create=True).close()
    for site in site_in(tmp_path, postgres.create("gone")):
        site.write(TRIALS, EPOCHS)
        check = assert_noticed(site, 3, ("run", *site.study), ("worker", *site.study))
        if anew == "emptied":
            names = ", ".join(table.name for table in tables.metadata.sorted_tables)
            postgres.execute(f"TRUNCATE {names}", "gone")
        else:
            postgres.execute("DROP DATABASE gone WITH (FORCE)")
        if anew in ("empty", "another store"):
            postgres.execute(
                f"CREATE DATABASE gone TEMPLATE {'template1' if anew == 'empty' else 'spare'}"
            )
        check()
