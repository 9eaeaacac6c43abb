"""A study's result as text: records in, JSON, Markdown, HTML and CSV out."""

from typing import TYPE_CHECKING, Any

import click

from search import cli
from search.service.report import Faults, announce, exit_status, texts

if TYPE_CHECKING:
    pass


@click.command(help="Write a study's report again from the store.")
@cli.study_options()
def report(**arguments: Any) -> int:
    """Write the report; return the exit status, 1 if a part of it cannot be made."""
    options = cli.take_options(arguments)
    from search.service.session import Session

    session, faults = Session(options), Faults(options.verbose)
    with session.store.database.errors():
        result, model = session.result(), session.ledger.kept_model()
        made = texts(result, session.evidence, faults)
        announce(result, made, session.out, model, options.json)
        return 1 if faults.names else exit_status(result)


if __name__ == "__main__":
    cli.main(report)
