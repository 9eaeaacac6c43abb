"""The browser of the acceptance tests: Chromium without a window, by Debian's own driver."""

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver

# As root there is no sandbox, and a browser that looks for its maker finds no network here.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-quic", "--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
)


@contextlib.contextmanager
def chromium(options: webdriver.ChromeOptions) -> Iterator[webdriver.Chrome]:
    """Start a browser; where none is installed, skip the test, and fail it in CI."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        missing = "there is no chromium with its chromedriver (Debian: chromium-driver)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    options.binary_location = program
    for flag in FLAGS:
        options.add_argument(flag)
    # The driver by its path, or Selenium would look for one on the network.
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()
