"""The notebook in docs/, executed: its cells in one process, as a kernel would."""

import json
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
    shown = 'assert "<iframe" in result._repr_html_()\nprint(result.test.mean)\n'
    code = "\n".join([*cells, shown])
    done = warm.run([sys.executable, "-c", code], timeout=LIMIT, cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stderr
    assert "Trained again with 3 fresh seeds" in done.stdout
    assert float(done.stdout.split()[-1]) > 0.7
    assert (tmp_path / "runs/iris/report.html").exists()
