"""``python -m search.findings``: what the arms of an experiment came to, side by side.

An arm is one combination of the choices that a study compares; its repetitions differ in their
seeds alone. Scores are the best of a trial's epochs on the validation split.
"""

import json
from typing import TYPE_CHECKING, Any

import click

from search import cli
from search.result.arms import arms, arms_json, arms_markdown

if TYPE_CHECKING:
    from search.service.session import Session


@click.command(help="Compare the arms of an experiment: scores, steps, seconds and gradients.")
@cli.study_options()
@cli.format_option
@click.option("--by", multiple=True, metavar="NAME", help="Tell arms apart by this; repeatable.")
@click.option(
    "--reach",
    type=float,
    callback=cli.finite,
    metavar="SCORE",
    help="Count the steps to this score too.",
)
@click.option("--health", is_flag=True, help="Show how gradients and the last layer fared too.")
def findings(by: tuple[str, ...], reach: float | None, health: bool, **arguments: Any) -> int:
    """Print the arms; return the exit status."""
    options = cli.take_options(arguments)
    from search.service.session import Session

    session = Session(options)
    with session.store.database.errors():
        result = session.evidence() if health else session.result()
        found = arms(result, _examples(session), by, reach)
    click.echo(json.dumps(arms_json(found)) if options.json else arms_markdown(found, reach))
    return 0


def _examples(session: "Session") -> int:
    """Return how many examples a network is trained on; where there are folds, on all but one."""
    data, folds = session.dataset, session.spec.folds
    if folds == 1:
        return len(data.train)
    return (len(data.train) + len(data.validation)) * (folds - 1) // folds


if __name__ == "__main__":
    cli.main(findings)
