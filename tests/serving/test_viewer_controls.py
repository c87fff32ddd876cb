"""Time, light, appearance and playing on the viewer's page, in a real browser."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from browsers import HEIGHT, Browser, assert_shows, free_port, open_browser, wait_for_finest
from commands import start, wait_until, wait_until_serving
from small import small_config, small_scene, small_scene_under
from trained import make_run

from export.exporting import export
from serving.client.rendering import RenderClient
from serving.viewer.page import ScenePage
from tfnerf.fields.model import make_model
from tfnerf.geometry.conditions import choose
from tfnerf.runs.trained import TrainedRun
from tfnerf.scenes import Scene
from tfnerf.settings import Config

NETWORK = {"net_depth": 3, "net_width": 32, "position_frequencies": 3, "white_background": True}
NUM_LIGHT_INPUTS = 15
"""Its direction in two frequencies."""
UNDER_CONDITIONS = {
    "time_model": "deform",
    "deformation_depth": 1,
    "deformation_width": 1,
    "deformation_frequencies": 0,
    "relightable": True,
}


def export_of(scene: Scene, config: Config, folder: Path, model_base_path: Path) -> None:
    """A version with patches of strong colours, that are elsewhere at other times."""
    keras.utils.set_random_seed(3)
    model = make_model(config)
    model.set_weights([3 * weight for weight in model.get_weights()])
    for field in model.fields:
        field.density.bias.assign([-20.0])
        if field.deformation is not None:
            field.deformation.hidden[0].kernel.assign([[0.0], [0], [0], [1]])
            field.deformation.offset.kernel.assign([[0.5, 0.3, 0]])
            of_others, of_light = np.split(field.view.kernel.numpy(), [-NUM_LIGHT_INPUTS])
            field.view.kernel.assign(np.concatenate([of_others / 6, 4 * of_light]))
            field.rgb.kernel.assign(field.rgb.kernel / 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfnerf.runs.trained.load_scene", lambda *_: scene)
        export(TrainedRun.load(str(make_run(folder, config, model))), model_base_path, "patches")


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    """A version of a scene with times and lights."""
    config = small_config(**NETWORK, **UNDER_CONDITIONS)
    export_of(small_scene_under("time", "light"), config, tmp_path / "run", tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def client(base_path: Path) -> Iterator[RenderClient]:
    server = start(
        "serving.server",
        "--model_name=patches",
        f"--model_base_path={base_path}",
        "--port=0",
        "--poll_seconds=0.2",
    )
    try:
        with RenderClient([wait_until_serving(server)], "patches", rows_per_request=2048) as opened:
            yield opened
    finally:
        server.kill()
        server.communicate()


@pytest.fixture
def page(client: RenderClient) -> Iterator[ScenePage]:
    opened = ScenePage(client, "patches", "127.0.0.1", free_port())
    yield opened
    opened.close()


@pytest.fixture
def browser(page: ScenePage, tmp_path: Path) -> Iterator[Browser]:
    opened = open_browser(page, tmp_path / "browser")
    yield opened
    opened.driver.quit()


def press(browser: Browser, label: str, key: str) -> None:
    """A key on the slider of that label."""
    from selenium.webdriver.common.by import By

    path = f"//*[text()='{label}']/following::*[@role='slider'][1]"
    wait_until(lambda: bool(browser.driver.find_elements(By.XPATH, path)))
    browser.driver.find_elements(By.XPATH, path)[0].send_keys(key)


def check(browser: Browser, label: str) -> None:
    """The box of that label."""
    from selenium.webdriver.common.by import By

    path = f"//*[text()='{label}']/following::input[@type='checkbox'][1]"
    browser.driver.execute_script(
        "arguments[0].click()", browser.driver.find_elements(By.XPATH, path)[0]
    )


def test_the_page_shows_time_and_light_plays_and_follows_the_version(
    base_path: Path, page: ScenePage, browser: Browser, client: RenderClient, tmp_path: Path
) -> None:
    from selenium.webdriver.common.keys import Keys

    wait_until(lambda: "Time" in browser.text() and bool(page._browsers))
    (shown,) = page._browsers.values()
    shown._height.value = HEIGHT
    wait_for_finest(page, browser)

    def expected(**texts: str) -> Any:
        """Under the conditions that the sliders say, from where the camera is."""
        from serving.viewer.page import look_through

        look = look_through(shown._handle.camera, HEIGHT)
        assert look is not None
        rows = choose(client.conditions, texts, 1)
        return client.render(look._replace(conditions=rows).cameras(HEIGHT), 0)

    def light(around: float, above: float) -> str:
        angles = np.radians([around, above])
        across = np.cos(angles[1])
        direction = [across * np.cos(angles[0]), across * np.sin(angles[0]), np.sin(angles[1])]
        return ",".join(str(number) for number in np.sqrt(2) * np.array(direction))

    scene = client.describe()
    first = browser.picture()
    assert_shows(browser, expected(time="0", light=light(45, 45)), scene, "color")
    press(browser, "Time", Keys.END)
    assert_shows(browser, expected(time="1", light=light(45, 45)), scene, "color")
    assert np.abs(browser.picture() - first).mean() > 2
    press(browser, "Light around", Keys.HOME)
    assert_shows(browser, expected(time="1", light=light(-180, 45)), scene, "color")

    # Time goes on by itself, and so does the camera.
    times = set()
    check(browser, "Play")

    def time_goes_on() -> bool:
        times.add(shown._controls._handles["Time"].value)
        return len(times) > 5

    wait_until(time_goes_on)
    check(browser, "Play")
    position = shown._handle.camera.position.copy()
    check(browser, "Play the camera path")
    wait_until(lambda: np.linalg.norm(shown._handle.camera.position - position) > 0.5)
    check(browser, "Play the camera path")

    # A version that stands still, with another near and far, takes its place.
    still = dataclasses.replace(small_scene(), near=1.0, far=9.0)
    export_of(still, small_config(**NETWORK), tmp_path / "still", base_path)
    shown._controls._handles["Time"].value = 0.5
    wait_until(lambda: client.status()[0][:2] == (2, "AVAILABLE"))
    press(browser, "Time", Keys.HOME)
    wait_until(lambda: "version 2" in browser.text() and "Time" not in browser.text())
    assert (shown._scene["near"], shown._scene["far"]) == (1.0, 9.0)
    assert not shown._plays_time.visible
