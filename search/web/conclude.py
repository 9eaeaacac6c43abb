"""How a process ends its turn at a study: the result is written, shown and published."""

from search.service.report import Report
from search.service.session import Session
from search.web.showcase import publish


def conclude(session: Session, folder: bool) -> Report:
    """Report what a study has come to.

    Files come first, since they are what was asked for, and the dashboard last. A folder that is
    full or a pipe that nobody reads keeps neither the rest of the files from being made nor the
    store from having them.

    Args:
        session: the study.
        folder: write the files to the study's folder and show the result; without it they are
            only in the store.

    Raises:
        SearchError: a file could not be written.
        BrokenPipeError: nobody reads standard output.

    """
    report = Report(session.result(), session.evidence, session.options.verbose)
    if not folder:
        publish(session, report.result, dict(report.texts()), report.plots())
        return report
    written = report.write(session.out, session.ledger.kept_model())
    try:
        report.show(written, session.options.json)
    finally:
        publish(session, report.result, written.texts, report.plots())
    written.check()
    return report
