import json
import re
import struct
import zlib
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from plotly.offline import get_plotlyjs
from scipy.stats import norm

from search.health.snapshot import Health, Snapshot
from search.page import page
from search.page.board import plots
from search.page.confusion import ROOM, confusion
from search.page.figure import stretched
from search.page.gradients import heat_maps
from search.page.history import figures
from search.page.verdicts import shares
from search.proof.interval import Interval
from search.proof.mistakes import Mistakes, picture
from search.result.sample import MOST_DRAWN
from search.result.state import State
from search.study.metric import RMSE
from search.study.space import Config
from search.study.spec import StudySpec
from search.study.task import Task
from tests.results import FULL, MISTAKES, SPACE, row, spec

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


PLAIN_ROWS = tuple(replace(one, verdict=None, verdict_reason=None) for one in FULL.trials)
NOT_JUDGED = replace(FULL, trials=PLAIN_ROWS, health={})
UNPROVEN = replace(FULL, proof=None, mistakes=None)
TABULAR = replace(
    FULL,
    mistakes=replace(MISTAKES, worst=tuple(replace(one, png=None) for one in MISTAKES.worst)),
)
FLAWLESS = replace(FULL, mistakes=Mistakes(11, 6, ((0, 0, 50), (1, 1, 50)), ()))
UNTRIED = replace(NOT_JUDGED, trials=(), proof=None, mistakes=None)
FAILED = replace(
    UNTRIED,
    trials=tuple(
        replace(one, state=State.FAILED, value=None, config=Config({}), curve=(), seed=None)
        for one in PLAIN_ROWS[:2]
    ),
)
SINGLE = replace(UNTRIED, trials=PLAIN_ROWS[:1])
NUMBERS_ONLY = replace(
    FULL,
    spec=spec({"learning_rate": norm(0.1, 0.01)}),
    trials=tuple(
        replace(one, config=Config({"learning_rate": one.config["learning_rate"]}))
        for one in FULL.trials
    ),
)
EQUAL = replace(NOT_JUDGED, trials=tuple(replace(one, value=0.5) for one in PLAIN_ROWS))
# What the trainers measure of a model of one's own: that it learns, but none of its layers.
LAYERLESS = replace(FULL, health={number: Health((Snapshot(1, ()),)) for number in range(12)})
ALL = {
    "full": FULL,
    "not judged": NOT_JUDGED,
    "unproven": UNPROVEN,
    "tabular": TABULAR,
    "flawless": FLAWLESS,
    "untried": UNTRIED,
    "failed": FAILED,
    "single": SINGLE,
    "numbers only": NUMBERS_ONLY,
    "equal": EQUAL,
    "layerless": LAYERLESS,
}


class Page(HTMLParser):
    """The elements of a page, and the text of each that has an id."""

    VOID = frozenset({"meta", "link", "img", "line", "rect", "circle", "br"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.said = ""
        self._open: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag not in self.VOID:
            self._open.append((tag, attributes.get("id")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] and self._open[-1][0] in ("script", "style"):
            own = self._open[-1][1]
            if own:
                self.texts[own] = self.texts.get(own, "") + data
            return
        self.said += data
        for _, name in self._open:
            if name:
                self.texts[name] = self.texts.get(name, "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for one, attributes in self.elements if one == tag]

    @property
    def plots(self) -> list[dict[str, Any]]:
        names = [one["data-plot"] for one in self.all("div") if "data-plot" in one]
        return [json.loads(self.texts[name or ""], parse_constant=pytest.fail) for name in names]


@cache
def text_of(name: str) -> str:
    """One of the pages, without Plotly, which takes the parser a second."""
    return page(ALL[name]).replace(get_plotlyjs(), "")


@cache
def parsed(name: str) -> Page:
    return Page(text_of(name))


@pytest.fixture
def full() -> Page:
    return parsed("full")


@pytest.mark.parametrize("name", ALL)
def test_whatever_is_missing_leaves_no_gap(name: str) -> None:
    text, made = text_of(name), parsed(name)

    assert "None" not in made.said.replace("None of the", "")
    assert "nan" not in made.said
    assert re.search(r"</h2>\s*(<div class=\"grid\">\s*</div>\s*)?</section>", text) is None
    for plot in made.plots:
        values = [value for trace in plot["data"] for value in trace.get("x", [])]
        assert values, "no empty figure"
    ids = [attributes["id"] for _, attributes in made.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", ALL)
def test_every_figure_and_picture_says_what_it_shows(name: str) -> None:
    made = parsed(name)

    for tag, attributes in made.elements:
        if attributes.get("role") == "img":
            text = made.texts[attributes["aria-labelledby"] or ""]
            assert len(text.split()) > 5
            assert text.endswith(".")
        if tag == "img":
            assert attributes["alt"]
    assert len(made.all("figure")) == len(made.plots)


def test_it_holds_all_there_is_to_show(full: Page) -> None:
    headings = {one.get("data-plot", "") for one in full.all("div")}
    for name in (
        *("history-data", "curves-data", "importances-data", "parallel-data", "slice-0-data"),
        *("choice-0-data", "choice-2-data", "verdicts-0-data", "heat-11-data", "heat-3-data"),
        "self-normalisation-data",
    ):
        assert name in headings
    assert "82.00 %" in full.said
    assert "rose from 50.00 % in trial 0 to 83.00 % in trial 11" in full.said
    assert "Target 90.00 % not proven" in full.said
    assert "python -m search.replay --study study --name mine --trial 11" in full.said
    assert "3 of 100 examples" in full.said
    assert [one["alt"] for one in full.all("img")] == [
        "Validation example 7: a 0 that the model takes for 1",
        "Validation example 9: a 1 that the model takes for 0",
    ]
    assert "Healthy gradients are most frequent with relu (100 % of 6 trials)" in full.said


def test_pruned_curves_are_faded_and_the_winner_stands_out(full: Page) -> None:
    early, _, winner = json.loads(full.texts["curves-data"])["data"]

    assert early["opacity"] < 0.5 < winner["opacity"]
    assert early["name"] == "ended early"
    assert [x for x in winner["x"] if x] == [1, 2, 3]
    assert len([x for x in early["x"] if x is None]) == 4


def test_the_last_layers_weights_are_shown_over_time(full: Page) -> None:
    (map_of_winner,) = json.loads(full.texts["weights-11-data"])["data"]

    assert map_of_winner["x"] == ["0", "1"]
    assert (len(map_of_winner["y"]), len(map_of_winner["z"])) == (40, 40)
    before, after = zip(*map_of_winner["z"], strict=True)
    assert (sum(before), sum(after)) == pytest.approx((100, 100), abs=0.5)
    # At first a quarter of the weights lies in each stretch of 0.2 between -0.4 and 0.4.
    assert before[:12] == (0,) * 12
    assert before[12:20] == pytest.approx([6.25] * 8)
    # Then half of them are 0, and the others lie evenly up to -1 and 1.
    assert after[19] == pytest.approx(50 + 25 / 20, abs=0.01)
    assert after[0] == after[-1] == pytest.approx(25 / 20)
    assert "between -0.4 and 0.4 before the first step, and between -1 and 1" in full.said


def test_gradients_that_are_no_numbers_are_gaps(full: Page) -> None:
    (trace,) = json.loads(full.texts["heat-3-data"])["data"]

    assert trace["z"] == [[-6, -6, None], [-0.699, -0.699, None], [-0.523, -0.523, None]]
    assert trace["y"] == ["layer 1", "layer 2", "output"]


def test_it_asks_nobody_for_anything(full: Page) -> None:
    for _, attributes in full.elements:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:"), attributes
    text = text_of("full")
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [one["content"] or "" for one in full.all("meta") if "http-equiv" in one]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert "http" not in policy


def test_plotly_is_in_it_once_and_only_where_it_draws() -> None:
    text = page(FULL)

    assert text.count(get_plotlyjs()) == 1
    assert len(text) < 6_000_000
    assert len(page(UNTRIED)) < 50_000


def test_equal_results_give_equal_pages() -> None:
    assert page(FULL) == page(replace(FULL))


def test_nothing_in_the_data_can_act() -> None:
    space = {HOSTILE: ["relu", HOSTILE], "learning_rate": norm(0.1, 0.01)}
    rows = tuple(
        replace(
            one,
            config=Config(
                {
                    HOSTILE: ("relu", HOSTILE)[one.number % 2],
                    "learning_rate": one.config["learning_rate"],
                }
            ),
            reason=HOSTILE,
            verdict=one.verdict if one.number else HOSTILE,
            verdict_reason=HOSTILE,
        )
        for one in FULL.trials
    )
    hostile = replace(
        FULL,
        name=HOSTILE,
        command=HOSTILE,
        spec=spec_of_any(space),
        trials=rows,
        data={"name": HOSTILE, "sha256": HOSTILE},
        versions={HOSTILE: HOSTILE},
        hardware={HOSTILE: HOSTILE},
        settings={HOSTILE: HOSTILE},
    )
    text = page(hostile).replace(get_plotlyjs(), "")
    made = Page(text)

    assert HOSTILE not in text
    assert {one.get("src", "data:")[:5] for one in made.all("img")} == {"data:"}  # type: ignore[index]
    assert len(made.all("script")) == len(made.plots) + 2
    for plot in made.plots:
        assert "<img" not in json.dumps(plot), "Plotly's labels take tags"


def spec_of_any(space: dict[str, Any]) -> StudySpec:
    """A study whose own model takes whatever names it likes."""
    return replace(spec(SPACE), space=space, model=own_model)


def own_model(_config: Config) -> Any:
    raise AssertionError("nobody builds it")


@pytest.mark.parametrize("unit", [1e-6, 1.0, 25_000.0])
def test_errors_are_drawn_as_what_they_are_whatever_their_unit(unit: float) -> None:
    """They are stored as their negatives; each axis has its best end where a score's is."""

    def negative(score: float) -> float:
        return -unit * (1 - score)

    proof = FULL.proof
    assert proof is not None
    result = replace(
        FULL,
        metric=RMSE,
        task=Task.REGRESSION,
        spec=replace(FULL.spec, metric="rmse", target=0.1 * unit),
        trials=tuple(
            replace(one, value=negative(one.value or 0.0), curve=tuple(map(negative, one.curve)))
            for one in FULL.trials
        ),
        proof=replace(
            proof,
            per_seed=tuple(map(negative, proof.per_seed)),
            interval=Interval(negative(0.82), negative(0.8), negative(0.84), 0.95),
        ),
    )
    shown = Page(page(result).replace(get_plotlyjs(), ""))
    history = shown.plots[0]
    axis = history["layout"]["yaxis"]
    heights = [y for trace in history["data"] for y in trace["y"]]
    most, least = (10**end for end in axis["range"])
    assert most > max(heights) > min(heights) > least > 0
    assert [tick for tick in axis["tickvals"] if least < tick < most]
    assert max(heights) == pytest.approx(unit * 0.5, rel=1e-5)
    assert min(heights) == pytest.approx(unit * 0.1, rel=1e-5)  # the target
    words = " ".join(shown.said.split())
    assert "is the RMSE on 2,000 test targets" in words
    assert not re.search(r"RMSE[^.]* -\d", words)


def test_numbers_sort_as_numbers(full: Page) -> None:
    cells = [one for one in full.all("td") if "data-key" in one]
    assert len(cells) > 12 * 5
    for cell in cells:
        float(cell["data-key"] or "")
    assert len(full.all("button")) == 12


# -- pictures --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (32, 32, 3)])
def test_a_picture_is_a_png_of_the_same_pixels(shape: tuple[int, ...]) -> None:
    pixels = np.random.RandomState(0).randint(256, size=shape).astype(np.uint8)
    content = picture(pixels)

    assert content is not None
    chunks = {}
    rest = content[8:]
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        kind, data = rest[4:8], rest[8 : 8 + length]
        assert struct.unpack(">I", rest[8 + length : 12 + length]) == (zlib.crc32(kind + data),)
        chunks[kind] = data
        rest = rest[12 + length :]
    width, height = struct.unpack(">2I", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert (height, width) == shape[:2]
    assert (lines[:, 0] == 0).all()
    assert (lines[:, 1:].reshape(shape) == pixels).all()


@pytest.mark.parametrize(
    "example",
    [
        np.zeros(20, np.float32),
        np.zeros((28, 28), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((28, 28, 2), np.uint8),
        np.zeros((500, 500), np.uint8),
    ],
)
def test_what_is_no_small_picture_has_none(example: Any) -> None:
    assert picture(example) is None


def test_of_many_classes_the_page_shows_those_that_are_confused() -> None:
    right = [(number, number, 9) for number in range(400)]
    wrong = [(399, number, 2) for number in range(100, 140)] + [(7, 3, 1), (399, 250, 5)]
    mistakes = Mistakes(11, 6, (*right, *wrong), ())
    labels = tuple(f"class {number} {'x' * 50}" for number in range(400))
    found = confusion(mistakes, labels)
    assert (found.all, len(found.classes), len(found.rows)) == (400, ROOM, ROOM)
    assert {250, 399} <= set(found.classes)
    assert not {3, 7} & set(found.classes), "others are confused more often"
    place = {number: place for place, number in enumerate(found.classes)}
    assert found.rows[place[399]][place[250]] == 5
    assert found.rows[place[250]][place[250]] == 9
    assert max(map(len, map(found.name, found.classes))) == 40

    text = page(replace(FULL, mistakes=mistakes, labels=labels))
    assert "Of 400 classes these are the 30 most involved in mistakes." in text
    assert "class 250 xxx" in text
    assert "class 7 xxx" not in text
    assert len(text) < len(page(FULL)) + 100_000
    assert "most involved" not in page(FULL)


def test_mistakes_survive_bytes() -> None:
    assert Mistakes.from_bytes(MISTAKES.to_bytes()) == MISTAKES
    assert (MISTAKES.examples, MISTAKES.wrong) == (100, 3)


# -- the dashboard's figures -----------------------------------------------------------------


def test_the_dashboards_figures_do_not_grow_with_the_trials() -> None:
    rows = [
        replace(FULL.trials[n % 12], number=n, value=n / 600, curve=(n / 600,)) for n in range(600)
    ]
    few, many = plots(FULL), plots(replace(FULL, trials=tuple(rows)))
    assert few.keys() == many.keys()
    sizes = {name: len(json.dumps(plot)) for name, plot in many.items()}
    assert max(sizes.values()) < 25_000, sizes
    for trace in many["scores-by-choice"]["data"]:
        errors = [1 - (row.value or 0) for row in rows if row.config["activation"] == "relu"]
        if trace["name"] == "activation relu":
            assert len(trace["x"]) == 40 < len(errors)
            assert (min(trace["x"]), max(trace["x"])) == pytest.approx(
                (min(errors), max(errors)), abs=1e-6
            )
            assert np.median(trace["x"]) == pytest.approx(np.median(errors), abs=0.02)


def test_the_dashboards_figures_say_what_the_pages_do() -> None:
    found = plots(FULL)
    for figure in shares(FULL):
        for trace in figure.traces:
            [whole] = [
                one for one in found["verdicts-by-choice"]["data"] if one["name"] == trace["name"]
            ]
            pairs = dict(zip(whole["y"], whole["x"], strict=True))
            for label, share in zip(trace["y"], trace["x"], strict=True):
                assert pairs[f"{figure.title} {label}"] == share
    maps = found["gradient-norms"]
    assert [one["z"] for one in maps["data"]] == [one.traces[0]["z"] for one in heat_maps(FULL)]
    assert [one["text"] for one in maps["layout"]["annotations"]] == [
        one.title for one in heat_maps(FULL)
    ]
    assert plots(UNTRIED) == {}
    assert plots(NOT_JUDGED).keys() == {"scores-by-choice"}


def test_of_many_trials_some_are_drawn_and_the_page_says_so() -> None:
    many = 4000
    rows = tuple(
        replace(row(number % 12), number=number, value=0.5 + number % 997 / 2000)
        for number in range(many)
    )
    healths = {number: FULL.health[number % 12] for number in range(many)}
    made = replace(FULL, trials=rows, health=healths, budget=many)
    text = page(made)
    assert len(text) < 8e6, "Plotly alone is 4.8e6"
    (history, curves) = figures(made)
    assert [len(trace["x"]) for trace in history.traces[:2]] == [MOST_DRAWN, MOST_DRAWN]
    best = history.traces[2]
    assert best["y"][-1] == min(stretched(one.value or 0, made.metric) for one in made.ranked), (
        "of all trials"
    )
    assert f"Drawn are 1,000 of {many:,} trials, evenly chosen." in history.caption
    assert f"Drawn are 1,001 of {many:,} trials" in curves.caption, "the winner's too"
    assert text.count("Drawn are") >= 8
    whole, _ = figures(replace(FULL))
    assert "Drawn are" not in whole.caption


def test_what_was_never_chosen_is_no_empty_text() -> None:
    failed = text_of("failed")
    rows = failed[failed.index("All trials") :].partition("<tbody>")[2].split("<tr>")[1:]
    assert [one.count('<td class=""></td>') for one in rows] == [len(SPACE)] * 2
