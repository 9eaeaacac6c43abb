"""docs/settings.md says what the code says, and the glossary has the words that it uses."""

import re
from pathlib import Path

import pytest

from search.study import mlp, spec, training
from tests.reference import NAMES, PAGE, reference

DOCS = Path(__file__).parents[1] / "docs"


def test_the_reference_of_settings_is_that_of_the_code() -> None:
    assert PAGE.read_text() == reference(), "write it anew: python -m tests.reference --write"


def test_every_list_of_names_that_a_study_may_use_is_in_it() -> None:
    lists = {
        name
        for module in (spec, mlp, training)
        for name, value in vars(module).items()
        if name.isupper() and name[0] != "_" and isinstance(value, tuple)
    }
    assert lists - {"FULL"} == {name for _, _, name, _ in NAMES}


def test_every_file_that_the_guide_for_contributors_names_is_there() -> None:
    text = (DOCS.parent / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:search|tests|docs|\.ci)/[\w/.]+)`", text)
    assert len(named) > 20
    assert [path for path in named if not (DOCS.parent / path).exists()] == []


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)[)#]", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
