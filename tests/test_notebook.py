"""The notebook in docs/, executed: its cells in one process, as a kernel would."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from tests import warm
from tests.acceptance.process import LIMIT, environment

ROOT = Path(__file__).parent.parent
NOTEBOOK: dict[str, Any] = json.loads((ROOT / "docs/quickstart.ipynb").read_text())
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_it_is_kept_without_outputs() -> None:
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    assert [cell["outputs"] for cell in CODE] == [[]] * len(CODE)
    assert {cell["execution_count"] for cell in CODE} == {None}
    names = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(names)) == len(names)


def test_its_cells_run_and_prove_something(tmp_path: Path) -> None:
    cells = ["".join(cell["source"]) for cell in CODE]
    shown = """
assert "<iframe" in result._repr_html_()
assert set(rows.predict(frame)) <= set(kinds)
assert list(rows.probabilities(frame)) == sorted(set(kinds))
print(result.test.mean, rows.test.mean)
"""
    code = "\n".join([*cells, shown])
    done = warm.run([sys.executable, "-c", code], timeout=LIMIT, cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Trained again with 3 fresh seeds") == 2
    assert min(map(float, done.stdout.split()[-2:])) > 0.7
    for name in ("iris", "iris_rows"):
        assert (tmp_path / f"runs/{name}/report.html").exists()
    assert re.search(r"taken for numbers: .*petal width \(cm\) \(\d+ missing\)", done.stderr)
