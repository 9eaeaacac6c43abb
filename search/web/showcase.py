"""A study's result where people look for it: files and a note and figures in the dashboard."""

import hashlib
import json
import mimetypes
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from search.result.wording import escaped
from search.result.words import sentences
from search.store.artifacts import Artifacts
from search.store.keys import file_name, model_prefix, report_key

if TYPE_CHECKING:
    from search.result.result import Result
    from search.service.session import Session

HEADING = "# Result\n"
RULE = "\n---\n"  # ends what is written here; what people write below it stays theirs
# Optuna's prefix of a study's attributes that describe files. Its own reader of them fails at the
# first file that was deleted in the dashboard, whose description is null from then on.
_ATTRIBUTE = "artifacts:"
_FIGURES = "search:figures"  # our attribute of a study: the digests of the figures that it has


def publish(
    session: "Session",
    result: "Result",
    texts: Mapping[str, str],
    plots: Mapping[str, dict[str, Any]],
) -> None:
    """Show a result with its report's texts and figures in the dashboard, in place of earlier ones.

    Whoever is killed in between leaves what the next one completes, and where nothing has
    changed, nothing is written.
    """
    files = {**_models(session), **_report(session, texts)}
    _describe(session, files)
    _annotate(session, result, files)
    _draw(session, plots)


def _report(session: "Session", texts: Mapping[str, str]) -> Mapping[str, str]:
    """Keep the report's files; return key -> file name."""
    files = {report_key(session.name, name): text.encode() for name, text in texts.items()}
    for key, content in files.items():
        if session.artifacts.get(key) != content:
            session.artifacts.put(key, content)
    return {key: file_name(key) for key in files}


def _models(session: "Session") -> Mapping[str, str]:
    """Return the winner's models that are kept: key -> file name."""
    proof, kept = session.ledger.proof, session.artifacts.keys(model_prefix(session.name))
    return {
        key: "best.keras" if proof and seed == proof.model_seed else f"seed-{seed}.keras"
        for seed, key in session.ledger.models.items()
        if key in kept
    }


def _describe(session: "Session", files: Mapping[str, str]) -> None:
    """Tell Optuna of the files, which are there by now, and of none that is gone."""
    storage, name = session.store.storage, session.name
    study_id = storage.get_study_id_from_name(name)
    there = {
        key.removeprefix(_ATTRIBUTE): value
        for key, value in storage.get_study_system_attrs(study_id).items()
        if key.startswith(_ATTRIBUTE)
    }
    wanted = {id: "null" for id in there if UUID(id).version == 5}  # others were uploaded
    wanted |= {Artifacts.id(key): _described(key, file) for key, file in files.items()}
    for id, description in wanted.items():
        if there.get(id) != description:
            storage.set_study_system_attr(study_id, _ATTRIBUTE + id, description)


def _described(key: str, file: str) -> str:
    kind, encoding = mimetypes.guess_type(file)
    return json.dumps(
        {
            "artifact_id": Artifacts.id(key),
            "filename": file,
            "mimetype": kind or "application/octet-stream",
            "encoding": encoding,
        }
    )


def _annotate(session: "Session", result: "Result", files: Mapping[str, str]) -> None:
    """State the result in the study's note, and link the files."""
    # Here, as it imports scikit-learn, and a command that ends in a refusal has no use for it.
    from optuna_dashboard import get_note, save_note
    from optuna_dashboard.artifact import get_artifact_path

    links = [
        f"- [{file}]({get_artifact_path(session.study, Artifacts.id(key))})"
        for key, file in sorted(files.items(), key=lambda item: item[1])
    ]
    before = get_note(session.study)
    theirs = before.partition(RULE)[2] if before.startswith(HEADING) else before
    parts = [HEADING, *map(escaped, sentences(result)), "", *links, RULE]
    note = "\n".join(parts) + theirs
    if note != before:
        save_note(session.study, note)


def _draw(session: "Session", plots: Mapping[str, dict[str, Any]]) -> None:
    """Keep the figures that are not there as they are, and note which are there now."""
    import plotly.graph_objects
    from optuna_dashboard import save_plotly_graph_object

    storage = session.store.storage
    study_id = storage.get_study_id_from_name(session.name)
    there = storage.get_study_system_attrs(study_id).get(_FIGURES, {})
    digests = {}
    for name, plot in plots.items():
        figure = plotly.graph_objects.Figure(plot)
        digests[name] = hashlib.sha256(str(figure.to_json()).encode()).hexdigest()
        if there.get(name) != digests[name]:
            save_plotly_graph_object(session.study, figure, graph_object_id=name)
    if digests != there:
        storage.set_study_system_attr(study_id, _FIGURES, digests)
