"""From CIFAR-10's files, as their authors publish them, to the finding: with made ones."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import tiny, warm
from tests.acceptance.process import LIMIT, Folder, environment

ARCHIVE = "cifar-10-python.tar.gz"
# What `python -m search.run` and its siblings do, with other digests than the published ones.
OVERRIDDEN = """
import json, sys
from dataclasses import replace
from functools import partial
from importlib import import_module
from search import cli
from search.data import catalog

digests, command = json.loads(sys.argv.pop(1)), sys.argv.pop(1)
real = catalog.PUBLISHED["cifar10"]
originals = {name: replace(one, digest=digests[name]) for name, one in real.originals.items()}
read = partial(real.archive.read, sha256=digests[real.archive.file])
catalog.PUBLISHED["cifar10"] = replace(
    real, originals=originals, archive=replace(real.archive, read=read)
)
cli.main(getattr(import_module(f"search.{command}"), command))
"""
# The study as it ships, but for its depth: twenty layers take half a minute to compile.
SHALLOW = """
from dataclasses import replace

from search import MLP
from studies.snn_cifar10 import STUDY

STUDY = replace(STUDY, model=MLP(hidden=(100, 100)))
"""


def batch(number: int, examples: int) -> bytes:
    """Return images of ten classes, each with a brightness of its own in each colour."""
    random = np.random.default_rng(number)
    labels = random.integers(10, size=examples)
    colours = np.random.default_rng(0).integers(40, 215, size=(10, 1, 1, 3))
    images = colours[labels] + random.normal(0, 40, (examples, 32, 32, 3))
    return tiny.batch(np.clip(images, 0, 255).astype(np.uint8), labels)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive, with 500 examples to train on beside those that validate."""
    batches = {f"data_batch_{number}": batch(number, 1100) for number in range(1, 6)}
    folder = tmp_path_factory.mktemp("published")
    for name, raw in (batches | {"test_batch": batch(6, 300)}).items():
        (folder / name).write_bytes(raw)
    batches["test_batch"] = (folder / "test_batch").read_bytes()
    tiny.write_cifar_tarball(folder / ARCHIVE, **batches)
    return folder


def digests(made: Path) -> str:
    kinds = {ARCHIVE: hashlib.sha256}
    found = {
        path.name: kinds.get(path.name, hashlib.md5)(path.read_bytes()).hexdigest()
        for path in made.iterdir()
    }
    return json.dumps(found)


def test_other_files_than_the_authors_are_refused_before_a_store_is_made(
    tmp_path: Path, made: Path
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / ARCHIVE).symlink_to(made / ARCHIVE)
    for folder, said in ((made, "data_batch_1 (uint8) is not the original"), (alone, "SHA-256")):
        done = Folder(tmp_path).run(
            "search.run", "--study", "snn_cifar10", "--data-dir", str(folder)
        )
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_the_archive_leads_to_the_finding(tmp_path: Path, made: Path) -> None:
    (tmp_path / ARCHIVE).symlink_to(made / ARCHIVE)
    (tmp_path / "shallow.py").write_text(SHALLOW)
    study = ["--study", "shallow.py", "--data-dir", str(tmp_path)]

    def run(command: str, *words: str) -> str:
        done = warm.run(
            [sys.executable, "-c", OVERRIDDEN, digests(made), command, *study, *words],
            LIMIT,
            cwd=tmp_path,
            env=environment(),
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("run", "--trials", "4", "--epochs", "1", "--lanes", "2", "--no-confirm", "--quiet")
    found = json.loads(run("findings", "--health", "--format", "json"))

    arms = {(one["choices"]["activation"], one["choices"]["initializer"]) for one in found}
    assert arms == {(a, i) for a in ("selu", "relu") for i in ("lecun_normal", "glorot_uniform")}
    assert {one["steps"] for one in found} == {500 // 32}
    assert max(one["score"] for one in found) > 0.3, "ten classes are told apart"
