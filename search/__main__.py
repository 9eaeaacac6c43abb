"""``python -m search`` lists the commands, and ``hyperparameter-search NAME`` runs one."""

import runpy
import sys

from search.cli import typed

COMMANDS = {
    "search.run": "create or continue a study: search, confirm, report",
    "search.worker": "one more worker on a study or a whole store, from any machine",
    "search.status": "how far a study is, and who works on it",
    "search.report": "write a study's report again from the store",
    "search.replay": "train a trial again and compare its score with the recorded one",
    "search.findings": "compare the arms of an experiment, with intervals",
    "search.predict": "say what a study's winner makes of new rows",
    "search.dashboard": "show a store's studies in the browser",
    "search.data": "fetch and verify a data set",
}


def dispatch() -> None:
    """Run the command that the first word names, or list them."""
    module = f"search.{sys.argv[1]}" if len(sys.argv) > 1 else ""
    if module in COMMANDS:
        del sys.argv[1]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    for name, does in COMMANDS.items():
        print(f"{typed(name.removeprefix('search.')):32} {does}")
    print("\nEach of them explains itself with --help.")
    if module and sys.argv[1:] != ["--help"]:
        print(f"error: there is no command {sys.argv[1]!r}; take one of these", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    dispatch()
