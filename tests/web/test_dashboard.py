"""The dashboard over real HTTP, on a store with a finished study."""

import base64
import csv
import gzip
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState
from optuna_dashboard._inmemory_cache import _CachedExtraStudyProperty

from search.errors import UsageError
from search.page.board import plots
from search.store import Store
from search.store.artifacts import Artifacts
from search.web import server
from search.web.app import _Known, pages
from search.web.guard import Guard
from search.web.guesses import FREE, SECONDS, Guesses
from search.web.server import UPLOAD_BYTES, listen, serve
from search.web.shared import Shared
from search.web.showcase import publish
from tests.acceptance.process import LIMIT, Folder
from tests.finished import finished, prove, written
from tests.results import FULL

STATES = (TrialState.COMPLETE, TrialState.FAIL)
NEW = {"study_name": "new", "directions": ["minimize"]}
HTML = b"<script>fetch('/api/studies/1', {method: 'DELETE'})</script>"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def reason(self) -> str:
        reason: str = json.loads(self.body)["reason"]
        return reason


def ask(port: int, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as client:
        if body is not None:
            headers["Content-Type"] = "application/json"
        client.request(method, path, None if body is None else json.dumps(body), headers)
        answer = client.getresponse()
        return Answer(answer.status, answer.headers, answer.read())


@dataclass(frozen=True)
class Site:
    """A running dashboard."""

    store: Store
    port: int

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return ask(self.port, method, path, body, **headers)

    def studies(self, **headers: str) -> list[str]:
        found = json.loads(self.ask("GET", "/api/studies", **headers).body)["study_summaries"]
        return [one["study_name"] for one in found]

    def upload(self, name: str, content: bytes) -> str:
        encoded = f"data:text/plain;base64,{base64.b64encode(content).decode()}"
        answer = self.ask("POST", "/api/artifacts/1", {"file": encoded, "filename": name})
        assert answer.status == 201, answer
        artifact: str = json.loads(answer.body)["artifact_id"]
        return f"/artifacts/1/{artifact}"


@contextmanager
def served(guard: Guard) -> Iterator[int]:
    """Answer requests, and lend the port."""
    with ExitStack() as stack:
        listener = stack.enter_context(listen("127.0.0.1", 0))
        stop = threading.Event()
        thread = threading.Thread(target=serve, args=(guard, listener, UPLOAD_BYTES, stop.is_set))
        thread.start()
        stack.callback(thread.join)
        stack.callback(stop.set)
        yield listener.getsockname()[1]


@contextmanager
def site(
    storage: str, read_only: bool = False, password: str = "", local: bool = True
) -> Iterator[Site]:
    with (
        closing(Store(storage, create=True)) as store,
        pages(store) as app,
        served(Guard(app, read_only, password, local)) as port,
    ):
        yield Site(store, port)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    session = finished(tmp_path_factory.mktemp("store"))
    prove(session)
    publish(session, result := session.result(), written(result), plots(FULL))
    session.store.close()
    return session.options.storage


@pytest.fixture(scope="module")
def writable(storage: str) -> Iterator[Site]:
    with site(storage) as running:
        yield running


@pytest.fixture(scope="module")
def read_only(storage: str) -> Iterator[Site]:
    with site(storage, read_only=True) as running:
        yield running


# -- what is shown ---------------------------------------------------------------------------


def test_figures_of_choices_and_gradients_stand_beside_the_dashboards_own(read_only: Site) -> None:
    study = json.loads(read_only.ask("GET", "/api/studies/1").body)
    found = {one["id"]: json.loads(one["graph_object"]) for one in study["plotly_graph_objects"]}
    assert found.keys() == {"scores-by-choice", "gradient-norms", "verdicts-by-choice"}
    titles = {one["layout"]["title"]["text"] for one in found.values()}
    assert "Verdicts on gradients, by choice" in titles
    bars = found["verdicts-by-choice"]["data"]
    assert any(label.startswith("activation relu (") for bar in bars for label in bar["y"])
    assert all(one["data"] for one in found.values())


def test_the_study_is_shown_with_its_result_and_files(read_only: Site) -> None:
    study = json.loads(read_only.ask("GET", "/api/studies/1").body)
    assert (study["name"], len(study["trials"])) == ("blobs", 6)
    assert study["objective_names"] == ["accuracy"]
    assert "the 2,000 test examples (95 % interval" in study["note"]["body"]
    links = dict(re.findall(r"\[(\S+)\]\((\S+)\)", study["note"]["body"]))
    assert links.keys() == {one["filename"] for one in study["artifacts"]}

    model = read_only.ask("GET", links["best.keras"])
    assert model.status == 200
    assert re.fullmatch(rb"model \d 11", model.body)
    assert model.headers["Content-Disposition"] == 'inline; filename="best.keras"'
    report = read_only.ask("GET", links["report.md"])
    assert report.body.startswith(b"# blobs")
    assert report.headers["Content-Type"] == "text/markdown"


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/studies/1", "/static/bundle.js"])
def test_a_plain_client_gets_the_pages(read_only: Site, path: str) -> None:
    """One that sends no Accept-Encoding makes optuna-dashboard fail."""
    with closing(http.client.HTTPConnection("127.0.0.1", read_only.port, timeout=60)) as client:
        client.putrequest("GET", path, skip_accept_encoding=True)
        client.endheaders()
        assert client.getresponse().status == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/artifacts/9/aa", "/artifacts/1/aa", "/artifacts/1/99/aa", "/csv/9", "/nowhere"),
        *(f"/artifacts/{10**20}/aa", f"/csv/{10**20}"),
    ],
)
def test_what_is_not_there_is_not_found(
    read_only: Site, path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert read_only.ask("GET", path).status == 404
    assert "Traceback" not in capfd.readouterr().err


def test_a_file_whose_bytes_are_gone_is_not_found(writable: Site) -> None:
    path = writable.upload("lost.txt", b"content")
    Artifacts(writable.store.database).remove(path.rpartition("/")[2])

    assert writable.ask("GET", path).status == 404


@pytest.mark.parametrize("stored", [3, "3", "{", "[]", '{"filename": 1}'])
def test_a_file_whose_description_nobody_understands_is_not_found(
    stored: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with site(f"sqlite:///{tmp_path}/store.db") as running:
        study = optuna.create_study(storage=running.store.storage)
        running.store.storage.set_study_system_attr(study._study_id, "artifacts:aa", stored)
        assert running.ask("GET", "/artifacts/1/aa").status == 404
    assert "Traceback" not in capfd.readouterr().err


def test_a_spreadsheet_reckons_nothing_out_of_what_is_downloaded(tmp_path: Path) -> None:
    with site(f"sqlite:///{tmp_path}/store.db") as running:
        study = optuna.create_study(storage=running.store.storage)
        trial = study.ask()
        trial.set_user_attr("formula", "=HYPERLINK(1)")
        trial.set_user_attr("long", "m" * 200_000)
        study.tell(trial, -0.5)
        content = running.ask("GET", "/csv/1").body.decode()
    _, [number, state, value, text, long] = csv.reader(content.splitlines())
    assert (number, state, float(value), len(long)) == ("0", "COMPLETE", -0.5, 200_000)
    assert text == '"=HYPERLINK(1)"'


def test_an_empty_store_is_an_empty_dashboard(tmp_path: Path) -> None:
    with site(f"sqlite:///{tmp_path}/new/new.db") as running:
        assert running.ask("GET", "/dashboard").status == 200
        assert running.studies() == []


@pytest.mark.parametrize("path", ["/api/studies", "/api/studies/1", "/artifacts/1/aa"])
def test_a_store_that_is_away_is_said_in_one_line_and_waited_for_by_nobody(
    storage: str, tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(storage.removeprefix("sqlite:///"), tmp_path / "search.db")
    with site(f"sqlite:///{tmp_path}/search.db") as running:
        assert running.studies() == ["blobs"]
        for file in tmp_path.glob("search.db*"):
            file.unlink()
        tmp_path.joinpath("search.db").write_text("no database any more " * 100)
        running.store.database.engine.dispose()
        answer = running.ask("GET", f"{path}?not-asked-before")

    assert (answer.status, answer.reason) == (503, "the store does not answer")
    (said,) = [one.getMessage() for one in caplog.records if one.name == "search.web.app"]
    assert "search.db is no longer the one that this process opened" in said


# -- who may do what -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/1/rename"),
        ("PUT", "/api/studies/1/note"),
        ("POST", "/api/trials/1/tell"),
        ("POST", "/api/artifacts/1"),
        ("OPTIONS", "/api/studies/1"),
        ("PATCH", "/"),
    ],
)
def test_read_only_means_that_nothing_is_written(read_only: Site, method: str, path: str) -> None:
    before = read_only.ask("GET", "/api/studies/1").body
    answer = read_only.ask(method, path, NEW)

    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert "read-only" in answer.reason
    assert read_only.studies() == ["blobs"]
    assert read_only.ask("GET", "/api/studies/1").body == before


def test_a_head_is_a_reading(read_only: Site) -> None:
    assert read_only.ask("HEAD", "/dashboard").status == 200


def test_what_is_writable_can_be_changed_and_deleted(writable: Site) -> None:
    made = writable.ask("POST", "/api/studies", NEW)
    study = json.loads(made.body)["study_summary"]["study_id"]
    assert set(writable.studies()) == {"blobs", "new"}
    assert writable.ask("DELETE", f"/api/studies/{study}").status == 204
    assert writable.studies() == ["blobs"]


def test_a_study_is_deleted_with_its_files(storage: str, tmp_path: Path) -> None:
    shutil.copy(storage.removeprefix("sqlite:///"), tmp_path / "search.db")
    with site(f"sqlite:///{tmp_path}/search.db") as running:
        artifacts = Artifacts(running.store.database)
        assert len(artifacts.keys("blobs/")) == 7
        assert running.ask("DELETE", "/api/studies/1", {}).status == 204
        assert running.studies() == []
        assert artifacts.keys("") == []


def test_a_study_cannot_be_renamed(writable: Site) -> None:
    answer = writable.ask("POST", "/api/studies/1/rename", {"study_name": "other"})

    assert (answer.status, "keeps its name" in answer.reason) == (403, True)
    assert writable.studies() == ["blobs"]


def basic(password: str, user: str = "search") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "given",
    [
        *("", "Basic", "Basic !", "Bearer s3cret:", "s3cret", "Basic s3cret", basic("")),
        *(basic("S3cret: ü"), basic("s3cret"), basic("s3cret: ü "), basic("", "s3cret: ü")),
    ],
)
def test_without_the_password_nothing_is_shown(storage: str, given: str) -> None:
    with site(storage, password="s3cret: ü") as running:
        for path in ("/dashboard", "/api/studies", "/static/bundle.js", "/artifacts/1/aa"):
            answer = running.ask("GET", path, Authorization=given)
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_with_the_password_all_is_shown(storage: str) -> None:
    with site(storage, password="s3cret: ü") as running:
        assert running.studies(Authorization=basic("s3cret: ü")) == ["blobs"]
        assert running.studies(Authorization=basic("s3cret: ü", user="me")) == ["blobs"]


# -- other sites -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:80", "", "[", "127.0.0.1.evil"]
)
def test_no_other_name_leads_here(writable: Site, host: str) -> None:
    """A site can let its own name mean 127.0.0.1, and its page would then share our origin."""
    for method in ("GET", "DELETE"):
        answer = writable.ask(method, "/api/studies/1", Host=host)
        assert (answer.status, "localhost" in answer.reason) == (403, True)
    assert writable.studies() == ["blobs"]


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:80", "[::1]:8080"])
def test_this_machine_has_several_names(writable: Site, host: str) -> None:
    assert writable.ask("GET", "/api/studies", Host=host).status == 200


def test_a_name_is_good_where_it_is_for_others_or_asks_for_a_password(storage: str) -> None:
    with site(storage, local=False, read_only=True) as running:
        assert running.studies(Host="gpu.example") == ["blobs"]
    with site(storage, local=False) as running:
        assert running.ask("DELETE", "/api/studies/1", Host="gpu.example").status == 403
    with site(storage, password="s3cret") as running:
        assert running.studies(Host="gpu.example", Authorization=basic("s3cret")) == ["blobs"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", ""])
def test_another_site_cannot_write(writable: Site, origin: str) -> None:
    answer = writable.ask("DELETE", "/api/studies/1", Origin=origin)

    assert (answer.status, "another site" in answer.reason) == (403, True)
    assert writable.studies() == ["blobs"]


def test_its_own_pages_can_write(writable: Site) -> None:
    note = json.loads(writable.ask("GET", "/api/studies/1").body)["note"]
    changed = {"version": note["version"] + 1, "body": note["body"]}
    origin = f"http://127.0.0.1:{writable.port}"

    assert writable.ask("PUT", "/api/studies/1/note", changed, Origin=origin).status == 204


def test_a_file_can_do_nothing_in_a_browser(writable: Site) -> None:
    answer = writable.ask("GET", writable.upload("report.html", HTML))

    assert (answer.status, answer.body) == (200, HTML)
    assert answer.headers["Content-Type"] == "text/html"
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert {"sandbox", "default-src 'none'"} <= set(policy)
    assert not any("script" in one for one in policy)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_the_dashboard_keeps_its_own_policy(read_only: Site) -> None:
    headers = read_only.ask("GET", "/dashboard").headers

    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "SAMEORIGIN"


# -- the command -----------------------------------------------------------------------------


def test_a_taken_port_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=rf"^127\.0\.0\.1:{port} is in use; .* --port$"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1", "no host", "a" * 300, "::g"])
def test_an_address_of_no_machine_or_another_is_said_in_one_line(host: str) -> None:
    with pytest.raises(UsageError, match=r"is no address of this machine; .* --host$"):
        listen(host, 0)


@pytest.mark.skipif(
    not Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").exists()
    or int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) == 0,
    reason="every port is for everybody here",
)
def test_a_port_of_the_system_is_said_in_one_line() -> None:
    code = """
import encodings.idna, os  # before the files of Python are out of reach
from search.web.server import listen
from search.errors import UsageError
if os.geteuid() == 0:
    os.setuid(65534)
try:
    listen("127.0.0.1", 1)
except UsageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"127\.0\.0\.1:1 is not for you to use; .* --port\n", done.stdout)


@dataclass(frozen=True)
class Started:
    """A dashboard that somebody started."""

    process: "subprocess.Popen[str]"
    line: str  # what it says first

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> int:
        (port,) = re.findall(r":(\d+)/ ", self.line)
        return ask(int(port), method, path, body, **headers).status

    def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Return the exit status, and all else that it said."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.send_signal(number)
        # Not by `communicate`, which knows nothing of what was read ahead with the first line.
        rest = self.process.stderr.read()
        assert self.process.stdout.read() == ""
        return self.process.wait(LIMIT), rest


@contextmanager
def started(folder: Path, *words: str) -> Iterator[Started]:
    with Folder(folder).start("search.dashboard", "--port", "0", *words) as process:
        assert process.stderr is not None
        try:
            yield Started(process, process.stderr.readline())
        finally:
            process.kill()


def test_it_creates_the_store_and_lets_this_machine_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DASHBOARD_PASSWORD", raising=False)
    with started(tmp_path) as running:
        assert re.fullmatch(
            r"The studies in sqlite:///runs/search\.db are on http://127\.0\.0\.1:\d+/ "
            r"\(writable\)\.\n",
            running.line,
        )
        assert (tmp_path / "runs/search.db").exists()
        assert running.ask("POST", "/api/studies", NEW) == 201
        assert running.stop(signal.SIGTERM) == (143, "")


def test_other_machines_may_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHBOARD_PASSWORD", "")  # as Compose passes on what is not set
    with started(tmp_path, "--host", "0.0.0.0") as running:
        assert "http://0.0.0.0:" in running.line
        assert "(read-only)" in running.line
        assert running.ask("GET", "/api/studies") == 200
        assert running.ask("POST", "/api/studies", NEW) == 405
        status, rest = running.stop(signal.SIGINT)
    assert status == 130
    assert re.fullmatch(r"warning: .* can read all studies; set DASHBOARD_PASSWORD .*\n", rest)


def test_the_environment_holds_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASHBOARD_PASSWORD", "s3cret")
    with started(tmp_path, "--host", "0.0.0.0", "--writable") as running:
        assert "(writable)" in running.line
        assert running.ask("GET", "/api/studies") == 401
        assert running.ask("POST", "/api/studies", NEW) == 401
        assert running.ask("POST", "/api/studies", NEW, Authorization=basic("s3cret")) == 201
        assert running.stop(signal.SIGTERM) == (143, "")


# -- many at once ----------------------------------------------------------------------------


def test_many_who_ask_the_same_get_one_answer(storage: str) -> None:
    made: list[str] = []
    with closing(Store(storage, create=False)) as store, pages(store) as app:
        assert isinstance(app, Shared)
        inner, now = app._app, [0.0]

        def slow(environ: Any, start_response: Any) -> Any:
            made.append(environ["PATH_INFO"])
            now[0] += 0.5
            together.wait(10)
            return inner(environ, start_response)

        together = threading.Event()
        shared = Shared(slow, lambda: now[0])

        def get(**environ: str) -> tuple[list[Any], bytes]:
            said: list[Any] = []
            base = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies/1", "QUERY_STRING": ""}
            body = b"".join(shared(base | environ, lambda *told: said.extend(told)))  # type: ignore[arg-type]
            return said, body

        with ThreadPoolExecutor(20) as crowd:
            answers = [crowd.submit(get) for _ in range(20)]
            together.set()
            plain = {answer.result()[1] for answer in answers}
        assert (len(plain), made) == (1, ["/api/studies/1"])
        (status, headers), packed = get(HTTP_ACCEPT_ENCODING="br, gzip")
        assert (status, dict(headers)["Content-Encoding"]) == ("200 OK", "gzip")
        assert int(dict(headers)["Content-Length"]) == len(packed) < len(*plain) / 3
        assert gzip.decompress(packed) == plain.pop()
        assert len(made) == 1
        now[0] += 5.1  # ten times what it took
        get()
        assert len(made) == 2
        get(REQUEST_METHOD="PUT", PATH_INFO="/nowhere")
        get()
        assert len(made) == 4, "whatever may have changed something ends that"
        get(PATH_INFO="/api/studies/9")
        get(PATH_INFO="/api/studies/9")
        assert len(made) == 6, "an error is not kept"


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), max_size=12))
def test_what_is_known_of_all_trials_is_what_the_dashboard_would_know(
    told: list[tuple[int, bool, bool]],
) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    ours, theirs, waiting = _Known(), _CachedExtraStudyProperty(), []
    for kind, ends, look in told:
        trial = study.ask()
        trial.suggest_float("a", 0, 1 + kind)
        if kind % 2:
            trial.suggest_categorical("b", ["x", "y"])
            trial.set_user_attr("mixed", kind if kind == 1 else "text")
        waiting.append((trial, kind))
        while ends and waiting:
            one, kind = waiting.pop()
            one.report(kind, 1)
            study.tell(one, None if kind == 4 else kind, state=STATES[kind == 4])
            ends = look
        for known in (ours, theirs) if look else ():
            known.update(study.get_trials(deepcopy=False))
    trials = study.get_trials(deepcopy=False)
    for known in (ours, theirs):
        known.update(trials)
    for name in ("union_user_attrs", "has_intermediate_values"):
        assert (
            sorted(getattr(ours, name)) == sorted(getattr(theirs, name))
            if name[0] == "u"
            else (getattr(ours, name) == getattr(theirs, name))
        )
    for space in ("union_search_space", "intersection_search_space"):
        assert {name for name, _ in getattr(ours, space)} == {
            name for name, _ in getattr(theirs, space)
        }


def test_each_trial_that_is_over_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study()
    study.optimize(lambda trial: trial.suggest_float("a", 0, 1), n_trials=5)
    looked: list[int] = []
    monkeypatch.setattr(_Known, "_update_search_space", lambda _, one: looked.append(one.number))
    known = _Known()
    known.update(study.trials)
    open_trial = study.ask()
    known.update(study.trials)
    known.update(study.trials)
    study.tell(open_trial, 1.0)
    for _ in range(3):
        known.update(study.trials)
    assert looked == [0, 1, 2, 3, 4, 5, 5, 5]


# -- strangers -------------------------------------------------------------------------------


def authorization(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


def test_no_body_is_taken_before_the_password_is_known(storage: str) -> None:
    with (
        site(storage, password="right") as running,
        closing(socket.create_connection(("127.0.0.1", running.port), 60)) as client,
    ):
        client.sendall(
            b"POST /api/artifacts/1 HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100000000\r\n\r\n"
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 401 Unauthorized\r\n"), "at once"
        with closing(socket.create_connection(("127.0.0.1", running.port), 60)) as other:
            other.sendall(
                b"POST /api/artifacts/1 HTTP/1.1\r\nHost: localhost\r\n"
                b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            assert other.recv(1000).startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        right = authorization("right")
        made = running.ask("POST", "/api/studies", NEW, Authorization=right)
        assert made.status == 201
        study = json.loads(made.body)["study_summary"]["study_id"]
        running.ask("DELETE", f"/api/studies/{study}", {}, Authorization=right)


def asked(port: int, request: str, body: bytes = b"", pause: float = 0) -> bytes:
    """Ask by hand, slowly perhaps, and return what comes until the server closes."""
    came = b""
    with closing(socket.socket()) as client, suppress(ConnectionError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(("127.0.0.1", port))
        client.sendall(f"{request} HTTP/1.1\r\nHost: localhost\r\n".encode())
        client.sendall(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(pause)
        while more := client.recv(2**16):
            came += more
    return came


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of waitress
def test_what_finds_no_room_in_the_temporary_folder_is_told_so(
    small: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        length = 2**24 if environ["PATH_INFO"] == "/long" else 3
        start_response("200 OK", [("Content-Length", str(length))])
        return [bytes(length)]

    monkeypatch.setattr("tempfile.tempdir", str(small))
    with served(Guard(app, read_only=False, password="", local=True)) as port:
        said = asked(port, "POST /", bytes(600_000))
        assert re.match(
            rb"HTTP/1.1 507 .*uploads pass through the temporary folder .*TMPDIR", said, re.DOTALL
        )
        assert len(asked(port, "GET /long", pause=0.5)) < 2**24
        (record,) = (one for one in caplog.records if one.name == "waitress")
        assert record.exc_info is not None
        said_of_it = str(record.exc_info[1])
        assert said_of_it.startswith(f"long answers pass through the temporary folder {small}, ")
        assert ask(port, "GET", "/").body == bytes(3), "others are served"


def test_wrong_passwords_are_slowed(storage: str) -> None:
    right, wrong = authorization("right"), authorization("wrong")
    with site(storage, password="right") as running:
        asked = [running.ask("GET", "/api/studies", Authorization=wrong) for _ in range(15)]
        assert [one.status for one in asked[:10]] == [401] * 10
        assert asked[-1].status == 429
        assert "too many wrong passwords" in asked[-1].reason
        assert 0 < int(asked[-1].headers["Retry-After"]) <= 2 * 2
        posted = running.ask("POST", "/api/studies", NEW, Authorization=wrong)
        assert posted.status == 429
        assert running.ask("GET", "/api/studies", Authorization=right).status == 429, (
            "not even that"
        )
    with site(storage, password="right") as running:
        for _ in range(15):
            assert running.ask("GET", "/api/studies").status == 401, "to ask is not to guess"
        assert running.ask("GET", "/api/studies", Authorization=right).status == 200


def test_guesses_are_counted_by_address_and_come_back() -> None:
    now = [0.0]
    guesses = Guesses(lambda: now[0])
    for _ in range(FREE):
        assert guesses.wait("10.0.0.1") == 0
        guesses.wrong("10.0.0.1")
    assert 0 < guesses.wait("10.0.0.1") <= SECONDS
    assert guesses.wait("10.0.0.2") == 0
    now[0] += SECONDS
    assert guesses.wait("10.0.0.1") == 0
    for number in range(FREE):
        guesses.wrong(f"2001:db8::{number:x}")
    assert guesses.wait("2001:db8::ffff") > 0, "one customer has them all"
    assert guesses.wait("2001:db8:1::1") == 0


def test_those_who_say_nothing_do_not_shut_others_out(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 20)
    with site(storage, read_only=True) as running, ExitStack() as silent:
        idle = []
        for number in range(40):
            one = silent.enter_context(
                closing(socket.create_connection(("127.0.0.1", running.port), 60))
            )
            if number % 2:
                one.sendall(b"GET / HTTP/1.1\r\nHost: loc")
            idle.append(one)
        assert running.studies() == ["blobs"]
        assert idle[0].recv(1) == b"", "the first of them was sent away"
