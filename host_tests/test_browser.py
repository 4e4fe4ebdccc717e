"""One journey in a real browser: open the board's page, fill the form, be told, come back, on a phone and a desktop.

Headless Chromium from the system (`apt install chromium`). Without it the journey is skipped with a warning, and in CI
it fails. Pictures go to build/screenshots for people to look at.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from host_tests.commands import program_path
from host_tests.device import Device
from scripts.console import BUILD_DIR

pytestmark = [pytest.mark.vm, pytest.mark.browser]

SCREENSHOTS = BUILD_DIR / "screenshots"
VIEWPORTS = {"phone": (390, 844), "desktop": (1280, 900)}
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = program_path("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(params=VIEWPORTS)
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, height = VIEWPORTS[request.param]
    context = browser.new_context(viewport={"width": width, "height": height}, is_mobile=request.param == "phone")
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.viewport_name = request.param  # type: ignore[attr-defined]
    yield page
    context.close()


def shoot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}-{page.viewport_name}.png", full_page=True)  # type: ignore[attr-defined]


def overflows(page: Page) -> bool:
    """True when the page is wider than the screen."""
    return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")


def test_a_person_changes_a_setting_and_comes_back_by_itself(device: Device, page: Page) -> None:
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("requestfailed", lambda request: errors.append(request.url))
    device.advance(120_000)
    page.goto(f"http://127.0.0.1:{device.port}/")
    assert page.title() == "Dashboard · Tally"
    assert page.locator(".card").count() == 7
    assert "24 °C" in page.locator(".card").first.inner_text()
    # A style sheet that did not come would leave the browser's own margin.
    assert page.evaluate("getComputedStyle(document.body).margin") == "0px"
    assert not overflows(page)
    shoot(page, "dashboard")
    page.fill("input[name=name]", "Küche & <Keller>")
    page.fill("input[name=sample_period_s]", "5")
    page.click("text=Save")
    page.wait_for_url("**/tips")
    assert "Name: Küche & <Keller>" in page.inner_text("main")
    assert not overflows(page)
    shoot(page, "tips")
    page.wait_for_url("**/index")  # the page's own 3 s, in the browser's time
    assert page.input_value("input[name=name]") == "Küche & <Keller>"
    assert page.inner_text("header a") == "Küche & <Keller>"
    assert errors == []


def test_a_mistake_in_the_form_is_shown_on_the_tips_page(device: Device, page: Page) -> None:
    page.goto(f"http://127.0.0.1:{device.port}/")
    page.evaluate("document.querySelector('form[action=\"/settings\"]').noValidate = true")
    page.fill("input[name=sample_period_s]", "0")
    page.click("text=Save")
    page.wait_for_url("**/tips")
    assert "sample_period_s must be 1 to 86400" in page.inner_text("main")
    page.click("main a")
    page.wait_for_url("**/index")
    assert page.input_value("input[name=sample_period_s]") == "10"


def test_a_missing_browser_fails_in_ci_and_is_skipped_aloud_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt install chromium"):
        program_path("chromium")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="did not run"), pytest.warns(UserWarning, match="did not run"):
        program_path("chromium")
