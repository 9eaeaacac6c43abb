"""``python -m search.replay``: train a trial again and compare it with what was recorded."""

import json
from functools import partial
from typing import Any

import click

from search import cli


@click.command(help="Train a trial again and say whether its score is the same.")
@cli.study_options()
@cli.format_option
@click.option("--trial", "number", type=click.IntRange(0), required=True, help="Its number.")
def replay(number: int, **arguments: Any) -> int:
    """Replay a trial; return the exit status: 0 the same, 1 not."""
    options = cli.take_options(arguments)
    from search.service.replay import compare, find_trial
    from search.service.session import Session

    session = Session(options)
    with session.store.database.errors():
        comparison = compare(session, find_trial(session, number), partial(click.echo, err=True))
    as_json = {
        "trial": comparison.trial,
        "same": comparison.difference == 0,
        "recorded": list(comparison.recorded.values()),
        "replayed": list(comparison.replayed.values()),
    }
    click.echo(json.dumps(as_json) if options.json else comparison.sentence())
    return 0 if comparison.difference == 0 else 1


if __name__ == "__main__":
    cli.main(replay)
