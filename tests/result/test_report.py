import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.cli import typed
from search.optimum import Optimum
from search.page import page
from search.proof.importance import Importance
from search.result.markdown import markdown
from search.result.result import Result
from search.result.state import State
from search.result.tables import best_json, trials_csv
from search.result.words import gradients, sentences
from search.service.report import Faults, Report, in_its_place
from search.study.metric import ACCURACY, ROC_AUC, Metric
from search.study.space import Config
from search.study.table import Column, ColumnKind
from tests.outcomes import (
    ALL,
    CONFIG,
    MET,
    MISSED,
    NOTHING,
    ROWS,
    SPEC,
    UNCONFIRMED,
    UNSURE,
    WITHOUT_TARGET,
    row,
)
from tests.results import strictly
from tests.study.test_learned import LEARNED

# -- best.json -------------------------------------------------------------------------------

PROMISED: dict[str, tuple[str, ...]] = {
    "study": (),
    "config": ("activation", "clipnorm", "learning_rate"),
    "trial": (),
    "validation": ("metric", "value"),
    "test": ("metric", "mean", "interval", "confidence", "seeds", "per_seed", "n", "groups"),
    "target": (),
    "target_met": (),
    "trials": ("total", "complete", "pruned", "failed"),
    "seconds": (),
    "data": ("name", "sha256"),
    "versions": (),
    "hardware": (),
}


def deliver(result: Result, out: Path, model: bytes | None = None, as_json: bool = False) -> Faults:
    report = Report(result, lambda: result)
    report.show(report.write(out, model), as_json)
    return report.faults


def exit_status(result: Result) -> int:
    return Report(result, lambda: result).exit_status


def test_best_json_holds_what_is_promised() -> None:
    best = strictly(json.dumps(best_json(MET)))

    assert best.keys() >= PROMISED.keys()
    for key, inner in PROMISED.items():
        assert not inner or best[key].keys() >= set(inner)
    assert (best["study"], best["trial"], best["config"]) == ("mine", 0, dict(CONFIG))
    assert best["validation"] == {"metric": "accuracy", "value": 0.91, "confirmed": 0.94}
    assert best["test"]["interval"] == [0.9, 0.95]
    assert (best["test"]["mean"], best["test"]["confidence"]) == (0.94, 0.95)
    assert (best["test"]["seeds"], best["test"]["n"]) == ([10, 11], 10_000)
    assert best["trials"] == {"total": 4, "complete": 2, "pruned": 1, "failed": 1}
    assert (best["target"], best["target_met"]) == (0.9, True)


def test_best_json_without_a_winner_keeps_its_keys() -> None:
    best = best_json(NOTHING)

    assert best.keys() >= PROMISED.keys()
    assert (best["config"], best["trial"], best["test"], best["target_met"]) == (
        None,
        None,
        None,
        False,
    )


def test_without_a_proof_the_best_trial_leads() -> None:
    assert best_json(UNCONFIRMED)["trial"] == 1
    assert best_json(UNCONFIRMED)["test"] is None


@pytest.mark.parametrize(
    ("result", "met"),
    [
        (MET, True),
        (UNSURE, False),
        (MISSED, False),
        (UNCONFIRMED, False),
        (NOTHING, False),
        (WITHOUT_TARGET, None),
    ],
)
def test_only_the_intervals_low_end_meets_a_target(
    result: Result, met: bool | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver(result, tmp_path, as_json=True)

    said = strictly(capsys.readouterr().out)
    assert said["target_met"] is met
    assert said == strictly((tmp_path / "best.json").read_text())
    assert exit_status(result) == (3 if met is False else 0)


@pytest.mark.parametrize("target", [None, 0.9])
def test_where_no_trial_has_completed_nothing_is_proven(target: float | None) -> None:
    nothing = replace(NOTHING, spec=replace(NOTHING.spec, target=target))
    assert exit_status(nothing) == 3


def test_what_is_no_number_is_not_written(tmp_path: Path) -> None:
    broken = replace(MET, hardware={"memory_gib": math.nan})

    with pytest.raises(ValueError, match="JSON"):
        deliver(broken, tmp_path)
    assert list(tmp_path.iterdir()) == []


# -- words -----------------------------------------------------------------------------------


OF_GROUPS = replace(MET, proof=MET.proof and replace(MET.proof, test_groups=30))


@pytest.mark.parametrize(
    ("result", "said", "unsaid"),
    [
        (
            MET,
            [
                "trial 0: activation elu, clipnorm off, learning_rate 0.01.",
                "with 2 fresh seeds, it is right on 94.00 % of the 10,000 test examples",
                "(95 % interval: 90.00 % to 95.00 %)",
                "The target of 90.00 % is met",
                "4 of 6 trials done: 2 complete, 1 pruned, 1 failed.",
            ],
            ["not", "More trials"],
        ),
        (UNSURE, ["not proven: the interval reaches below it", "--trials"], ["is met", "not met"]),
        (MISSED, ["The target of 90.00 % is not met", "--trials"], ["not proven"]),
        (UNCONFIRMED, ["trial 1:", "is 95.00 %", "not confirmed", "not proven"], ["is met"]),
        (NOTHING, ["None of the 2 trials of mine has completed."], ["best configuration"]),
        (WITHOUT_TARGET, ["94.00 %"], ["target", "groups"]),
        (OF_GROUPS, ["on 94.00 % of the 10,000 test examples in 30 groups (95 %"], []),
    ],
)
def test_the_result_in_words(result: Result, said: list[str], unsaid: list[str]) -> None:
    text = " ".join(sentences(result))

    assert [phrase for phrase in said if phrase not in text] == []
    assert [phrase for phrase in unsaid if phrase in text] == []


@pytest.mark.parametrize(
    ("metric", "consequence"),
    [
        (ACCURACY, "they count as wrong."),
        (ROC_AUC, "a model that gives one counts with the worst ROC AUC, 0.0000."),
    ],
)
def test_answers_that_are_no_numbers_are_said(metric: Metric, consequence: str) -> None:
    assert MET.proof is not None
    result = replace(MET, metric=metric, proof=replace(MET.proof, unanswered=66))
    assert (
        "Of the 20,000 answers of its models to the test examples 66 are no numbers (NaN or "
        f"infinite); {consequence}"
    ) in sentences(result)
    assert strictly(json.dumps(best_json(result)))["test"]["unanswered"] == 66


def test_the_terminal_names_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deliver(MET, tmp_path, b"a model")

    assert (tmp_path / "best.keras").read_bytes() == b"a model"
    *said, files = capsys.readouterr().out.splitlines()
    assert said == sentences(MET)
    for name in ("best.json", "report.md", "report.html", "trials.csv", "best.keras"):
        assert str(tmp_path / name) in files
        assert (tmp_path / name).exists()
    assert len(list(tmp_path.iterdir())) == 5  # nothing half-written is left beside them


def test_a_page_that_cannot_be_made_is_one_line_and_keeps_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.html").write_text("an earlier one")
    # A study of another program's trials may well lack what the page relies on.
    odd: Any = "no health\nat all"
    broken = replace(MET, health={1: odd})
    faults = deliver(broken, tmp_path, b"a model")

    said = capsys.readouterr()
    [line] = said.err.splitlines()
    assert line.startswith("warning: report.html cannot be made and stays as it was: Attribute")
    assert line.endswith("(-v shows where)")
    assert faults.names == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "an earlier one"
    assert "report.html" not in said.out
    for name in ("best.json", "report.md", "trials.csv", "best.keras"):
        assert str(tmp_path / name) in said.out
        assert (tmp_path / name).exists()
    assert exit_status(broken) == exit_status(MET)


def test_report_md_has_the_evidence_as_far_as_it_can_be_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    column = (Column(name="age", kind=ColumnKind.NUMBER),)
    bare = replace(MET, columns=column)
    full = replace(bare, column_importance=Importance(rows=9, falls={"age": (0.2, 0.03)}))

    def damaged() -> Result:
        raise ValueError("not what this program wrote")

    for evidence, said in ((lambda: full, "20.00 ± 3.00"), (damaged, "What each column was taken")):
        Report(bare, evidence).write(tmp_path, None)
        assert said in (tmp_path / "report.md").read_text()
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: report.html cannot be made")


def test_what_programs_read_is_there_before_the_page_is_begun(tmp_path: Path) -> None:
    """Whatever ends the process while it draws, even what cannot be caught."""

    def killed() -> Result:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Report(MET, killed).write(tmp_path, b"a model")
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {"best.json", "best.keras", "trials.csv"}


# -- report.md -------------------------------------------------------------------------------


def tables(text: str) -> list[list[list[str]]]:
    """Return the cells of each of a Markdown text's tables."""
    blocks = [
        [line for line in block.splitlines() if line[:1] == "|"] for block in text.split("\n\n")
    ]
    return [[cells(line) for line in lines] for lines in blocks if lines]


def cells(line: str) -> list[str]:
    halves = line.replace("\\|", "\0").strip("|").split("|")
    return [half.strip().replace("\0", "|") for half in halves]


def test_the_report_has_the_best_trials_the_confirmation_and_the_reasons() -> None:
    best, confirmation, reasons = tables(markdown(MET))

    assert best[0] == ["trial", "validation accuracy", "epochs", *CONFIG]
    assert best[2:] == [
        ["1", "95.00 %", "9", "elu", "off", "0.01"],
        ["0", "91.00 %", "9", "elu", "off", "0.01"],
    ]
    assert confirmation[2:] == [["0", "2", "94.00 %"], ["1", "2", "91.00 %"]]
    assert ["complete", "all epochs done", "2"] in reasons
    assert ["failed", 'ValueError: a|b, "c" and d', "1"] in reasons
    assert "python -m search.replay --study study --name mine --trial 0\n" in markdown(MET)


def test_its_commands_are_as_its_reader_called_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.orig_argv", ["python", "/bin/hyperparameter-search", "run"])
    by_script = replace(MET, command=f"{typed('run')} --study study")
    assert "hyperparameter-search run --study study" in markdown(by_script)
    assert "hyperparameter-search replay --study study --trial 0\n" in markdown(by_script)
    assert "SHA-256 5ba" in markdown(MET)
    assert "hardly win" not in markdown(MET)


def test_it_says_which_candidates_dropped_out() -> None:
    assert MET.proof is not None
    raced = replace(MET, proof=replace(MET.proof, runs=MET.proof.runs[:-1]))
    _, confirmation, _ = tables(markdown(raced))
    assert [row[:2] for row in confirmation[2:]] == [["0", "2"], ["1", "1"]]
    assert "A candidate that could hardly win any more was trained with no further seeds." in (
        markdown(raced)
    )


def test_the_report_shows_ten_trials_at_most() -> None:
    many = replace(UNCONFIRMED, trials=tuple(row(n, State.COMPLETE, n / 20) for n in range(20)))

    best, _reasons = tables(markdown(many))
    assert [line[0] for line in best[2:]] == [str(number) for number in range(19, 9, -1)]


def test_both_reports_say_how_much_the_winner_depends_on_each_column() -> None:
    columns = (
        Column(name="age", kind=ColumnKind.NUMBER, missing=3),
        Column(name="weight", kind=ColumnKind.NUMBER, unit="kg"),
        Column(name="row", kind=ColumnKind.DROP, note="it numbers the rows"),
    )
    falls = Importance(rows=1500, falls={"age": (0.01, 0.002), "weight": (0.2, 0.03)})
    result = replace(MET, columns=columns, column_importance=falls)
    _, _, said, _ = tables(markdown(result))
    assert said[2:] == [
        ["weight", "number, in kg", "", "", "20.00 ± 3.00"],
        ["age", "number", "3", "", "1.00 ± 0.20"],
        ["row", "left out", "", "it numbers the rows", ""],
    ]
    sentence = "validation accuracy falls, points, when the values of a column are shuffled among"
    for text in (markdown(result), page(result)):
        assert f"{sentence} 1,500 rows" in text
    assert "What each column was taken for." in markdown(replace(result, column_importance=None))


def test_odd_names_do_not_break_the_table() -> None:
    odd = Config({"a|b": "x|y\nz", "c": True})
    result = replace(UNCONFIRMED, trials=(row(0, State.COMPLETE, 0.5, config=odd),))

    best, _reasons = tables(markdown(result))
    assert best[0][3:] == ["a|b", "c"]
    assert best[2][3:] == ["x|y z", "on"]
    assert {len(line) for line in best} == {5}


def judged(*trials: tuple[str, str, float]) -> Result:
    """Return a result of these trials: activation, verdict, accuracy."""
    rows = [
        row(
            number,
            State.COMPLETE,
            value,
            config=Config({**CONFIG, "activation": activation}),
            verdict=verdict,
            verdict_reason=f"Reason {number}.",
        )
        for number, (activation, verdict, value) in enumerate(trials)
    ]
    return replace(MET, trials=tuple(rows))


def test_the_report_says_how_gradients_fared_by_choice() -> None:
    elu, relu = ("elu", "healthy", 0.9), ("relu", "vanishing", 0.5)
    text = markdown(judged(elu, elu, elu, ("relu", "healthy", 0.8), relu, relu))

    *_, activation, clipnorm, _rate = tables(text)
    assert activation[0] == ["activation", "healthy", "vanishing"]
    assert activation[2:] == [["relu", "1", "2"], ["elu", "3", "0"]]
    assert clipnorm[2:] == [["off", "4", "2"]]
    assert "6 trials whose gradients were judged, 4 ended healthy, 2 vanishing." in text
    assert "healthy most often with activation elu (3 of 3 trials, 1 of 3 without it)" in text
    assert "least often" not in text, "that would say the same again"
    assert "that may be chance" in text
    assert "median" not in text, "two trials are no sample"
    assert "Vanishing (2), for example trial 4: Reason 4." in text
    assert "The winner, trial 0, is healthy. Reason 0." in text
    assert "Gradients" not in markdown(MET)


def test_many_trials_say_more_than_chance() -> None:
    many = [("elu", "healthy", 0.9), ("relu", "dying units", 0.4)] * 12
    text = gradients(judged(*many, ("elu", "dying units", 0.5)))

    assert "activation elu (12 of 13 trials, 0 of 12 without it)" in text
    assert "the difference is more than chance" in text
    assert "median validation accuracy of 90.00 % (90.00 % to 90.00 %)" in text
    assert "the others 40.00 % (40.00 % to 50.00 %)" in text
    assert "Dying units (13), for example" in text, "one was no relu"
    assert "Dying units (12, all with activation relu), for" in gradients(judged(*many))


def test_each_difference_is_tested_alone() -> None:
    some = [("relu", "vanishing", 0.4)] * 12 + [("elu", "healthy", 0.9)] * 8
    mixed = judged(*some, *[("tanh", "healthy", 0.9), ("tanh", "vanishing", 0.4)] * 2)
    space = {**SPEC.space, "activation": ["relu", "elu", "tanh"]}
    text = gradients(replace(mixed, spec=replace(SPEC, space=space)))

    assert "most often with activation elu (8 of 8 trials, 2 of 16 without it)" in text
    assert "least often with activation relu (0 of 12 trials, 10 of 12 without it)" in text
    assert "the difference is more than chance" in text


def test_no_choice_is_praised_without_a_reason() -> None:
    even = [(name, kind, 0.9) for name in ("elu", "relu") for kind in ("healthy", "saturated") * 4]

    assert "No choice had healthy gradients more often" in gradients(judged(*even))
    few = gradients(judged(("elu", "healthy", 0.9), ("relu", "saturated", 0.2)))
    assert "often" not in few


@pytest.mark.parametrize("result", ALL)
def test_every_result_has_a_report(result: Result) -> None:
    text = markdown(result)

    assert text.startswith("# mine\n\n")
    assert text.endswith("\n")
    assert "None" not in text.replace("None of the", "")
    assert re.search(r"^#.*\n+#", text, re.MULTILINE) is None  # no empty section


# -- trials.csv ------------------------------------------------------------------------------


def test_the_csv_can_be_read_back() -> None:
    rows = list(csv.DictReader(trials_csv(MET).splitlines(keepends=True)))

    assert [int(line["number"]) for line in rows] == [row.number for row in ROWS]
    for line, wanted in zip(rows, ROWS, strict=True):
        assert line["state"] == wanted.state
        assert line["value"] == ("" if wanted.value is None else str(wanted.value))
        assert line["reason"] == (wanted.reason or "")
        assert line["counts"] == str(wanted.counts)
        assert line["activation"] == wanted.config.get("activation", "")
        clipnorm = wanted.config.get("clipnorm", "")  # which is None where it is off
        assert line["clipnorm"] == ("off" if clipnorm is None else str(clipnorm))
    assert list(rows[0])[-3:] == list(CONFIG)


NAMES: dict[str, list[Any]] = {
    "state": ["", "0", "off"],  # a text that is no more than its letters
    "seed": [None, 3, "3"],  # off in the first trial
    "space.seed": ["=1+1", "-1", "@x"],
    "text": ["True", "nan", '"'],
    "switch": [True, False, -1.5],
}


def test_a_csv_has_each_name_once_and_tells_texts_from_all_else() -> None:
    spec = replace(SPEC, space=NAMES, model=lambda _config: None, trials=3)
    rows = [
        row(number, State.COMPLETE, -0.5, config=Config({name: of[number] for name, of in columns}))
        for columns in [NAMES.items()]
        for number in range(3)
    ]
    rows.append(row(3, State.FAILED, None, config=Config({}), reason="=cmd|' /C calc'!A0"))
    lines = list(csv.reader(trials_csv(replace(MET, spec=spec, trials=tuple(rows))).splitlines()))
    names = lines[0]
    assert names[8:] == ["space.state", "space.space.seed", "space.seed", "text", "switch"]
    assert len(set(names)) == len(names)
    cells = [line[8:] for line in lines[1:]]
    assert cells[0] == ['""', "off", '"=1+1"', '"True"', "True"]
    assert cells[1] == ['"0"', "3", '"-1"', '"nan"', "False"]
    assert cells[2] == ['"off"', '"3"', '"@x"', r'"\""', "-1.5"]
    assert cells[3] == [""] * 5, "nothing was chosen, which is not the same as off"
    trials = Optimum(replace(MET, spec=spec, trials=tuple(rows)), Path(), None, LEARNED).trials
    seeds = trials["space.space.seed"].tolist()
    assert seeds[:3] == [None, 3, "3"]
    assert math.isnan(seeds[3])
    assert trials["reason"].isna().sum() == sum(one.reason is None for one in rows)
    assert lines[1][2] == "-0.5", "a number stays one"
    assert lines[4][5] == "\"=cmd|' /C calc'!A0\""


HOSTILE = "<script>alert(1)</script> [x](javascript:1) ![](http://h/p) `a` **b** | c\n# d\x1b[2J"


def test_what_a_store_says_is_plain_text_in_the_report() -> None:
    rows = tuple(
        replace(one, reason=HOSTILE, verdict=HOSTILE, verdict_reason=HOSTILE) for one in ROWS[:4]
    )
    text = markdown(
        replace(MET, trials=rows, notes=(HOSTILE,), versions={"a": HOSTILE}, hardware={HOSTILE: 1})
    )
    assert "alert(1)" in text
    left = re.sub(r"\\[^\w\s]", "", text)  # what is escaped means itself
    assert re.findall(r"<|\[|\]\(|`|\*\*|://|\x1b|^# d", left, re.MULTILINE) == []
    assert "about the data: " in text


def test_what_a_store_says_does_not_reach_the_terminal_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = Config({"activation": "\x1b[2Jx\ny", "clipnorm": "", "learning_rate": 0.01})
    deliver(replace(MET, trials=(replace(ROWS[0], config=odd), *ROWS[1:])), tmp_path)
    said = capsys.readouterr().out
    assert r"activation \x1b[2Jx y, clipnorm " " ".strip() in said
    assert "\x1b" not in said


def test_every_opening_is_said_wherever_one_is() -> None:
    opened = replace(MET, openings=(0, 0, 1))
    for text in (markdown(opened), page(opened)):
        assert "opened 3 times, for the trials 0, 0, 1" in text


def test_results_are_written_through_no_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "best.json").symlink_to(victim)
    with in_its_place(tmp_path / "best.json") as file:
        assert len(list(tmp_path.iterdir())) == 3, "beside its place until it is whole"
        file.write(b"ours")
    assert victim.read_text() == "mine"
    assert (tmp_path / "best.json").read_text() == "ours"
    assert not (tmp_path / "best.json").is_symlink()
    assert len(list(tmp_path.iterdir())) == 2
