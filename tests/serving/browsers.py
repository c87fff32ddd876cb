"""The viewer's page in a real browser: headless Chromium."""

from __future__ import annotations

import io
import json
import re
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
from commands import wait_until
from PIL import Image

from serving.client.rendering import RenderedView
from serving.viewer.page import ScenePage, color_view

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SIZE = (640, 480)
"""Of the browser's window, pixels."""
HEIGHT = 96
"""Of the finest pictures here."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Browser:
    """A page in headless Chromium."""

    def __init__(self, url: str, folder: Path):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (
            "--headless",
            "--no-sandbox",
            "--enable-unsafe-swiftshader",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--window-size={SIZE[0]},{SIZE[1]}",
            f"--user-data-dir={folder}",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        self.driver = webdriver.Chrome(options, Service(DRIVER))
        self.driver.get(url)

    def text(self) -> str:
        return str(self.driver.execute_script("return document.body.innerText"))

    def picture(self) -> np.ndarray:
        """The lower half of the page, which nothing covers, [H / 2, W, 3]."""
        pixels = imageio.imread(io.BytesIO(self.driver.get_screenshot_as_png()))[..., :3]
        return pixels[len(pixels) // 2 :].astype(float)

    def click(self, by: str, selector: str) -> None:
        """On the first such element that is to be seen, once there is one."""

        def visible() -> list[Any]:
            found = self.driver.find_elements(by, selector)
            return [element for element in found if element.is_displayed()]

        wait_until(lambda: bool(visible()))
        visible()[0].click()

    def drag(self, right: int, down: int, button: Any) -> None:
        """Moves the mouse with a button held, in steps, from a place that shows the scene."""
        from selenium.webdriver.common.action_chains import ActionBuilder

        actions = ActionBuilder(self.driver, duration=50)
        actions.pointer_action.move_to_location(SIZE[0] // 3, SIZE[1] // 2)
        actions.pointer_action.pointer_down(button)
        for _ in range(10):
            actions.pointer_action.move_by(right // 10, down // 10)
        actions.pointer_action.pointer_up(button)
        actions.perform()

    def requested(self, page: str) -> set[str]:
        """What the page has asked for."""
        entries = [json.loads(entry["message"])["message"] for entry in self.log]
        urls = {
            entry["params"]["request"]["url"]
            for entry in entries
            if entry["method"] == "Network.requestWillBeSent"
            and entry["params"]["documentURL"].startswith(page)
        }
        return urls | {
            entry["params"]["url"]
            for entry in entries
            if entry["method"] == "Network.webSocketCreated"
        }

    @property
    def log(self) -> list[Any]:
        return self.driver.get_log("performance")


def open_browser(page: ScenePage, folder: Path) -> Browser:
    """On that page; skips the test where there is no Chromium."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("no Chromium: install Debian's chromium and chromium-driver")
    return Browser(f"http://127.0.0.1:{page.server.get_port()}/", folder)


def camera_of(page: ScenePage) -> Any:
    (handle,) = page.server.get_clients().values()
    return handle.camera


def wait_for_finest(page: ScenePage, browser: Browser) -> None:
    """Until the camera is at rest and the picture is the finest."""
    wait_until(lambda: bool(page.server.get_clients()))
    position = None
    while position is None or not np.array_equal(position, camera_of(page).position):
        position = camera_of(page).position
        time.sleep(0.5)
    wait_until(lambda: re.search(rf"x {HEIGHT} pixels", browser.text()) is not None)


def as_shown(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The lower half of a picture, enlarged as the browser does."""
    height, width = shape[:2]
    enlarged = Image.fromarray(picture).resize((width, 2 * height), Image.Resampling.BILINEAR)
    return np.asarray(enlarged)[height:].astype(float)


def assert_shows(browser: Browser, view: RenderedView, scene: dict, shown: str) -> None:
    """The page shows this once it is drawn, and not the same the other way round."""
    expected = color_view(view, shown, scene["near"], scene["far"])

    def shows_it() -> bool:
        picture = browser.picture()
        error = np.abs(as_shown(expected, picture.shape) - picture).mean()
        mirrored = np.abs(as_shown(expected[:, ::-1].copy(), picture.shape) - picture).mean()
        return bool(error < 6 and mirrored > 5 * error)

    wait_until(shows_it)
