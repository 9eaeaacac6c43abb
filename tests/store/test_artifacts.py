import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import download_artifact, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound

from search.store import Store
from search.store.artifacts import Artifacts


@pytest.fixture
def artifacts(store: Store) -> Artifacts:
    return Artifacts(store.database)


def test_a_file_is_kept_replaced_and_deleted(artifacts: Artifacts) -> None:
    content = bytes(range(256)) * 5000
    artifacts.put("mnist/model/7", content)
    assert artifacts.get("mnist/model/7") == content
    assert artifacts.open_reader(Artifacts.id("mnist/model/7")).read() == content
    artifacts.put("mnist/model/7", b"")
    assert artifacts.get("mnist/model/7") == b""
    artifacts.delete("mnist/model/7")
    artifacts.delete("mnist/model/7")
    assert artifacts.get("mnist/model/7") is None


def test_keys_are_found_by_exactly_their_beginning(artifacts: Artifacts) -> None:
    for key in ("my_study/b", "my_study/a", "my_study", "My_Study/a", "myXstudy/a", "%"):
        artifacts.put(key, b"")
    assert artifacts.keys("my_study/") == ["my_study/a", "my_study/b"]
    assert artifacts.keys("%") == ["%"]
    assert len(artifacts.keys("")) == 6
    assert sorted(artifacts.all("my_study/")) == ["my_study/a", "my_study/b"]
    assert sorted(artifacts.all("%")) == ["%"]


def test_of_many_writers_of_one_key_one_wins(artifacts: Artifacts) -> None:
    barrier = threading.Barrier(4, timeout=10)

    def write(number: int) -> None:
        for _ in range(5):
            barrier.wait()
            artifacts.put("key", bytes([number]) * 1000)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    content = artifacts.get("key")
    assert content is not None
    assert (len(content), len(set(content))) == (1000, 1)


def test_optuna_keeps_its_artifacts_here(
    store: Store, artifacts: Artifacts, tmp_path: Path
) -> None:
    study = optuna.create_study(storage=store.storage)
    original, copy = tmp_path / "report.html", tmp_path / "copy.html"
    original.write_bytes(b"<html>")
    identity = upload_artifact(
        artifact_store=artifacts, file_path=str(original), study_or_trial=study
    )
    download_artifact(artifact_store=artifacts, file_path=str(copy), artifact_id=identity)
    assert copy.read_bytes() == b"<html>"
    artifacts.remove(identity)
    for use in (artifacts.open_reader, artifacts.remove):
        with pytest.raises(ArtifactNotFound, match=identity):
            use(identity)
    artifacts.write(identity, io.BytesIO(b"again"))
    assert artifacts.open_reader(identity).read() == b"again"
