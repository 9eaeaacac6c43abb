"""Runs commands as a user does: real processes in a folder of their own."""

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import warm

LIMIT = 240  # seconds; far more than any command here takes, so that a hang fails the test


@dataclass(frozen=True)
class Folder:
    """A working directory with its runs and its store.

    Its processes fork from one that has the libraries, unless a whole ``interpreter`` is asked for.
    """

    path: Path
    interpreter: bool = False

    def command(self, module: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", module, *arguments]

    def run(self, module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return warm.finished(self.start(module, *arguments), LIMIT)

    def start(self, module: str, *arguments: str) -> "subprocess.Popen[str]":
        popen = subprocess.Popen[str] if self.interpreter else warm.popen
        return popen(
            self.command(module, *arguments),
            cwd=self.path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop(
        self, signal_: signal.Signals, after: str, module: str, *arguments: str
    ) -> tuple[int, str]:
        """Send a signal once a line of standard error holds ``after``; return status and rest."""
        with self.start(module, *arguments) as process:
            assert process.stderr is not None
            seen = ""
            for line in process.stderr:
                seen += line
                if after in line:
                    break
            process.send_signal(signal_)
            _, rest = process.communicate(timeout=LIMIT)
            assert after in seen, seen
            return process.returncode, seen + rest

    def rows(self, name: str) -> list[dict[str, str]]:
        """The trials of a study, from its CSV file."""
        text = (self.path / "runs" / name / "trials.csv").read_text()
        return list(csv.DictReader(text.splitlines()))

    def best(self, name: str) -> dict[str, Any]:
        best: dict[str, Any] = json.loads((self.path / "runs" / name / "best.json").read_text())
        return best


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "OPTUNA_STORAGE"}
    return kept | {"PYTHONPATH": str(Path(__file__).parents[2])}
