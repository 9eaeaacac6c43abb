"""``python -m search.data``: fetch and verify a data set."""

from pathlib import Path

import click

from search import cli, data


@click.command(help="Fetch and verify a data set, so that later no network is needed.")
@click.argument("name")
@cli.data_dir_option
@cli.verbose_option
def fetch_command(name: str, data_dir: Path | None, verbose: bool) -> int:  # noqa: ARG001
    """Fetch a data set; return the exit status."""
    fetched = data.fetch(name, data_dir)
    where = f" at {fetched.path}" if fetched.path else ""
    click.echo(f"{name}: complete and verified, from {fetched.source}{where}.")
    return 0


if __name__ == "__main__":
    cli.main(fetch_command)
