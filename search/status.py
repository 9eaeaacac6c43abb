"""``python -m search.status``: how far a study is, and who works on it."""

import json
import time
from typing import Any

import click

from search import cli


@click.command(help="Say how far a study is, and who works on it.")
@cli.study_options()
@cli.format_option
@click.option("--follow", is_flag=True, help="Say it again and again until the study is done.")
def status(follow: bool, **arguments: Any) -> int:
    """Print the status; return the exit status."""
    options = cli.take_options(arguments)
    from search.service.session import Session
    from search.service.status import StudyState, as_text, status_json, status_of

    session = Session(options)
    with session.store.database.errors():
        said = ""
        while True:
            now = status_of(session)
            text = json.dumps(status_json(now)) if options.json else as_text(now)
            if text != said:
                click.echo(text + ("\n" if follow and not options.json else ""))
            said = text
            if not follow or now.state is StudyState.DONE:
                return 0
            time.sleep(session.store.database.timing.idle)


if __name__ == "__main__":
    cli.main(status)
