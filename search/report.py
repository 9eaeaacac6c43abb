"""``python -m search.report``: write a study's report again."""

from typing import Any

import click

from search import cli


@click.command(help="Write a study's report again from the store.")
@cli.study_options()
@cli.format_option
def report(**arguments: Any) -> int:
    """Write the report; return the exit status, 1 if a part of it cannot be made."""
    options = cli.take_options(arguments)
    from search.service.report import Report
    from search.service.session import Session

    session = Session(options)
    with session.store.database.errors():
        made = Report(session.result(), session.evidence, options.verbose)
        written = made.write(session.out, session.ledger.kept_model())
        made.show(written, options.json)
        written.check()
        return 1 if made.faults.names else made.exit_status


if __name__ == "__main__":
    cli.main(report)
