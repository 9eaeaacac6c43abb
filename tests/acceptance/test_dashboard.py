"""The dashboard in a real browser: what a person sees, and cannot do."""

import io
import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from search.page.board import plots
from search.web.showcase import publish
from tests.acceptance.process import LIMIT, Folder
from tests.browser import chromium
from tests.finished import finished, prove, written
from tests.results import FULL

T = TypeVar("T")

UPLOADED = "9b2f8c0e-53e5-4f7a-8b43-0a5b1c2d3e4f"
PAGE = b"<title>kept</title><script>document.title = 'changed'</script>"


class Browser:
    """A Chromium on a running dashboard."""

    def __init__(self, driver: webdriver.Chrome, address: str, downloads: Path) -> None:
        self._driver = driver
        self.address = address
        self.downloads = downloads

    def open(self, path: str) -> None:
        self._driver.get(self.address + path)

    @property
    def title(self) -> str:
        return self._driver.title

    def wait_for(self, condition: Callable[[], T]) -> T:
        return WebDriverWait(self._driver, LIMIT).until(lambda _: condition())

    def wait_for_text(self, *texts: str) -> str:
        self.wait_for(lambda: all(text in self.text() for text in texts))
        return self.text()

    def text(self) -> str:
        # By one script, since an element found first may be gone by the time it is read.
        text: str = self._driver.execute_script("return document.body.innerText")
        return text

    def count(self, selector: str) -> list[int]:
        """Return how many parts each of the figures has."""
        script = (
            "return [...document.querySelectorAll('.js-plotly-plot')]"
            ".map(plot => plot.querySelectorAll(arguments[0]).length)"
        )
        counts: list[int] = self._driver.execute_script(script, selector)
        return counts

    def click(self, xpath: str) -> None:
        self.wait_for(lambda: self._driver.find_elements(By.XPATH, xpath))[0].click()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    session = finished(folder)
    prove(session)
    publish(session, result := session.result(), written(result), plots(FULL))
    session.artifacts.write(UPLOADED, io.BytesIO(PAGE))
    described = {"artifact_id": UPLOADED, "filename": "page.html", "mimetype": "text/html"}
    session.store.storage.set_study_system_attr(
        session.study._study_id, f"artifacts:{UPLOADED}", json.dumps(described | {"encoding": None})
    )
    session.store.close()
    return folder


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Browser]:
    words = ("--storage", f"sqlite:///{folder}/search.db", "--port", "0", "--read-only")
    with Folder(folder, interpreter=True).start("search.dashboard", *words) as process:
        assert process.stderr is not None
        try:
            (address,) = re.findall(r"http://\S+(?=/ )", process.stderr.readline())
            yield from in_chromium(address, folder / "downloads")
        finally:
            process.terminate()
            process.communicate(timeout=LIMIT)


def in_chromium(address: str, downloads: Path) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.add_argument("--window-size=1600,1400")
    options.add_argument(f"--user-data-dir={downloads.parent / 'profile'}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    with chromium(options) as driver:
        yield Browser(driver, address, downloads)


def test_the_pages_show_the_trials_and_their_curves(browser: Browser) -> None:
    browser.open("/")
    browser.wait_for_text("blobs", "MAXIMIZE")
    browser.open("/dashboard/studies/1/trials")
    seen = browser.wait_for_text("6 Trials", "Intermediate Values")
    assert seen.count("Complete") + seen.count("Pruned") >= 6
    browser.open("/dashboard/studies/1")
    browser.wait_for_text("History", "Best Trial")
    # The curves are the figure with a line for each trial.
    browser.wait_for(lambda: 6 in browser.count(".scatterlayer .trace"))


def test_the_figures_of_gradients_stand_among_the_others(browser: Browser) -> None:
    browser.open("/dashboard/studies/1")
    browser.wait_for_text("Verdicts on gradients, by choice", "Validation accuracy, by choice")
    browser.wait_for_text("Norm of the gradient, by layer and time", "the winner", "vanishing")
    # Two trials' maps, each with its picture.
    browser.wait_for(lambda: 2 in browser.count(".heatmaplayer image"))


def test_the_note_states_the_result_and_its_links_lead_to_the_files(browser: Browser) -> None:
    browser.open("/dashboard/studies/1/note")
    seen = browser.wait_for_text("Result", "95 % interval: 95.50 % to 98.10 %", "trials.csv")
    assert {"best.json", "best.keras", "report.md", "seed-10.keras"} <= set(seen.split())

    browser.click("//a[text()='best.keras']")
    saved = browser.downloads / "best.keras"
    browser.wait_for(saved.exists)
    assert re.fullmatch(r"model \d 11", saved.read_text())

    browser.click("//a[text()='report.md']")
    browser.wait_for(
        lambda: (browser.downloads / "report.md").exists() or "# blobs" in browser.text()
    )


def test_the_button_that_deletes_does_nothing(browser: Browser) -> None:
    browser.open("/")
    browser.click("//button[@aria-label='delete study']")
    browser.click("//*[@role='dialog']//button[contains(., 'Yes') or contains(., 'Delete')]")
    browser.wait_for_text("Failed to delete study")

    with urllib.request.urlopen(f"{browser.address}/api/studies/1", timeout=LIMIT) as answer:
        study = json.load(answer)
    assert (study["name"], len(study["trials"])) == ("blobs", 6)


def test_an_uploaded_page_runs_no_script(browser: Browser) -> None:
    browser.open(f"/artifacts/1/{UPLOADED}")

    assert browser.title == "kept"
