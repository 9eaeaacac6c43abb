"""The report in a real browser: it draws, it sorts, it fits a phone, and it asks nobody."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from search.page import page
from tests.browser import chromium
from tests.results import FULL

SIZES = {"phone": 390, "desk": 1280}
INK = {"light": "rgb(23, 32, 44)", "dark": "rgb(230, 235, 242)"}

Browser = webdriver.Chrome
Open = Callable[[str, str], Browser]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with chromium(options) as browser:
        yield browser


@pytest.fixture(scope="module")
def opened(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Open:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(FULL))

    def open_(size: str, scheme: str) -> Browser:
        screen = {"width": SIZES[size], "height": 900, "deviceScaleFactor": 1}
        screen["mobile"] = size == "phone"
        scheme_ = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme_]})
        for kind in ("browser", "performance"):
            logged(browser, kind)  # forgets what was logged of the page before
        browser.get(path.as_uri())
        return browser

    return open_


def ask(browser: Browser, script: str) -> Any:
    return browser.execute_script(f"return {script}")


def logged(browser: Browser, kind: str) -> list[dict[str, Any]]:
    """Return what was logged since the last time."""
    return browser.get_log(kind)  # type: ignore[no-untyped-call,no-any-return]


def requests(browser: Browser) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in logged(browser, "performance")]
    sent = [one for one in messages if one["method"] == "Network.requestWillBeSent"]
    return [one["params"]["request"]["url"] for one in sent]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_draws_everything_and_asks_nobody(opened: Open, size: str, scheme: str) -> None:
    browser = opened(size, scheme)

    assert logged(browser, "browser") == []
    assert {url.split(":")[0] for url in requests(browser)} == {"file", "data"}
    assert ask(browser, "document.querySelectorAll('.plot').length") > 12
    undrawn = "[...document.querySelectorAll('.plot')].filter(p => !p.querySelector('.main-svg'))"
    assert ask(browser, f"{undrawn}.map(p => p.dataset.plot)") == []
    # What is wider than the screen scrolls within its own frame.
    root = "document.documentElement"
    assert ask(browser, f"{root}.scrollWidth - {root}.clientWidth") == 0
    ink = "getComputedStyle(document.querySelector('.xtick text')).fill"
    assert ask(browser, ink) == INK[scheme]
    assert ask(browser, "getComputedStyle(document.body).color") == INK[scheme]


def test_the_table_sorts_by_number_and_by_word(opened: Open) -> None:
    browser = opened("desk", "light")

    def column(name: str, times: int) -> tuple[list[str], str | None]:
        heads = browser.find_elements(By.CSS_SELECTOR, "table.sortable th")
        index = [head.text.split()[0] for head in heads].index(name)
        for _ in range(times):
            browser.execute_script(
                "arguments[0].click()", heads[index].find_element(By.TAG_NAME, "button")
            )
        cells = f"[...document.querySelectorAll('.sortable tbody td:nth-child({index + 1})')]"
        return ask(browser, f"{cells}.map(cell => cell.textContent)"), heads[index].get_attribute(
            "aria-sort"
        )

    trials = [str(number) for number in range(12)]
    assert column("trial", 0) == (trials, None)
    assert column("trial", 2) == (trials[::-1], "descending")
    states, order = column("state", 1)
    assert (states, order) == (["complete"] * 8 + ["pruned"] * 4, "ascending")
    assert column("trial", 0)[1] is None
    rates, _ = column("clipnorm", 1)
    numbers = [float(text) for text in rates if text != "off"]
    assert numbers == sorted(numbers)
    assert len(numbers) == 9


def test_no_script_of_a_strangers_runs(opened: Open) -> None:
    browser = opened("desk", "light")

    browser.execute_script(
        "const one = document.createElement('script');"
        "one.textContent = 'window.hacked = true'; document.body.append(one);"
    )
    assert ask(browser, "window.hacked") is None
