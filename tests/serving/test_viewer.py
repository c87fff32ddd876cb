"""serving.viewer: refinement against a real server, and the page in a real browser."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from browsers import (
    HEIGHT,
    SIZE,
    Browser,
    assert_shows,
    camera_of,
    free_port,
    open_browser,
    wait_for_finest,
)
from commands import finish, run, signal_other_thread, start, wait_until, wait_until_serving
from small import small_config
from trained import make_run

from export.exporting import export
from serving.client.rendering import RenderClient, RenderedView
from serving.viewer.page import ScenePage, look_through
from serving.viewer.refinement import Look, Refinement
from tfnerf.fields.model import make_model
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.poses import look_along
from tfnerf.runs.trained import TrainedRun

NETWORK = {"net_depth": 3, "net_width": 32, "skip_layer": 1, "position_frequencies": 3}


@pytest.fixture(scope="module")
def base_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of a scene with patches of strong colours."""
    folder = tmp_path_factory.mktemp("viewed")
    config = small_config(white_background=True, **NETWORK)
    keras.utils.set_random_seed(3)
    model = make_model(config)
    # Wilder than new networks are, and empty in places.
    model.set_weights([3 * weight for weight in model.get_weights()])
    for variable in model.variables:
        if variable.path == "density/bias":
            variable.assign([-55.0])
    export(
        TrainedRun.load(str(make_run(folder / "run", config, model))), folder / "model", "patches"
    )
    return folder / "model"


def start_server(base_path: Path, port: int) -> subprocess.Popen:
    arguments = ["--model_name=patches", f"--model_base_path={base_path}", f"--port={port}"]
    process = start("serving.server", *arguments)
    wait_until_serving(process)
    return process


@pytest.fixture(scope="module")
def address(base_path: Path) -> Iterator[str]:
    """Of a server."""
    port = free_port()
    process = start_server(base_path, port)
    yield f"127.0.0.1:{port}"
    process.kill()
    process.communicate()


@pytest.fixture
def client(address: str) -> Iterator[RenderClient]:
    with RenderClient([address], "patches", rows_per_request=2048) as opened:
        yield opened


def look_at_scene(client: RenderClient, height: int, frame: int = 0) -> Look:
    pose = client.camera_path().camera_to_world[frame].astype(float)
    return Look(pose, field_of_view=0.7, aspect=1.5, height=height)


class Shown:
    """What a refinement shows and says."""

    def __init__(self) -> None:
        self.views: list[RenderedView] = []
        self.failures: list[str] = []

    def show(self, view: RenderedView, seconds: float) -> None:
        self.views.append(view)

    def heights(self) -> list[int]:
        return [len(view.depth) for view in self.views]


def test_pictures_become_finer_while_nothing_moves(client: RenderClient) -> None:
    """From a coarse one to the height asked for, which is what the client renders itself."""
    shown = Shown()
    refinement = Refinement(client, shown.show, shown.failures.append)
    look = look_at_scene(client, 300)
    refinement.look(look)
    wait_until(lambda: 300 in shown.heights())
    refinement.close()
    heights = shown.heights()
    assert len(heights) > 1
    assert heights == sorted(heights)
    expected = client.render(look.cameras(300), 0)
    np.testing.assert_array_equal(shown.views[-1].rgb, expected.rgb)
    assert shown.views[-1].rgb.shape == (300, 450, 3)
    assert not shown.failures


def test_a_moving_camera_is_shown_coarsely_and_then_finely(client: RenderClient) -> None:
    """Each movement gives up the finer pictures of the one before; the last is finished."""
    shown = Shown()
    refinement = Refinement(client, shown.show, shown.failures.append)
    for frame in range(5):
        already = len(shown.views)
        refinement.look(look_at_scene(client, 1080, frame))
        wait_until(lambda: len(shown.views) > already)  # noqa: B023
    last = look_at_scene(client, 90, 7)
    expected = client.render(last.cameras(90), 0).rgb
    refinement.look(last)
    wait_until(lambda: np.array_equal(shown.views[-1].rgb, expected))
    refinement.close()
    assert 1080 not in shown.heights()


def test_a_server_that_comes_back_is_seen_again(base_path: Path) -> None:
    port = free_port()
    server = start_server(base_path, port)
    shown = Shown()
    try:
        with RenderClient([f"127.0.0.1:{port}"], "patches", patient=False) as client:
            look = look_at_scene(client, 32)
            server.kill()
            server.communicate()
            refinement = Refinement(client, shown.show, shown.failures.append)
            refinement.look(look)
            wait_until(lambda: bool(shown.failures))
            assert shown.failures[0].startswith("UNAVAILABLE: ")
            assert not shown.views
            server = start_server(base_path, port)
            wait_until(lambda: 32 in shown.heights())
            refinement.close()
    finally:
        server.kill()
        server.communicate()


def test_a_browser_is_not_trusted() -> None:
    """What it sends is bounded, or passed over where it makes no sense."""
    sensible = {"wxyz": [1.0, 0, 0, 0], "position": [0.0, 0, 0], "fov": 1.0, "aspect": 1.5}

    def look(height: float = 100, **changes: Any) -> Look | None:
        fields = {**sensible, **changes}
        return look_through(
            SimpleNamespace(**{name: np.array(value) for name, value in fields.items()}),  # type: ignore
            height,  # type: ignore
        )

    assert look() is not None
    np.testing.assert_array_equal(look().camera_to_world[:, :3], np.diag([1, -1, -1]))  # type: ignore
    largest = look(1e12, aspect=1e9, fov=-4.0)
    assert largest is not None
    cameras = largest.cameras(largest.height)
    assert cameras.height * cameras.width <= 1080 * 10_800
    assert np.isfinite(cameras.focal).all()
    nan = float("nan")
    for wrong in ({"wxyz": [0, 0, 0, 0]}, {"position": [0, nan, 0]}, {"fov": nan}, {"height": nan}):
        assert look(**wrong) is None


def test_the_command_serves_until_it_is_told_to_stop(address: str) -> None:
    port = free_port()
    viewer = start(
        "serving.viewer", f"--server={address}", "--model_name=patches", f"--port={port}"
    )
    try:
        serves_until_it_is_told_to_stop(viewer, address, port)
    finally:
        viewer.kill()


def serves_until_it_is_told_to_stop(viewer: subprocess.Popen, address: str, port: int) -> None:
    assert viewer.stdout.readline() == f"http://127.0.0.1:{port} (Ctrl-C stops)\n"  # type: ignore
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"\0garbage\r\n\r\n")
        stranger.recv(1000)
    second = run(
        "serving.viewer",
        f"--server={address}",
        "--model_name=patches",
        f"--port={port}",
        status=1,
    )
    assert (
        second
        == f"error: --port={port}: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    )
    signal_other_thread(viewer, signal.SIGTERM)
    assert "Traceback" not in finish(viewer)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--model_name: not given, expected the name of a served model"),
        (["--model_name=other"], "NOT_FOUND: Servable not found for request: Latest(other)"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(
    address: str, flags: list[str], message: str
) -> None:
    output = run("serving.viewer", f"--server={address}", *flags, status=1)
    assert output.startswith("error: ")
    assert output.endswith(f"{message}\n")
    assert output.count("\n") == 1


@pytest.fixture
def page(client: RenderClient) -> Iterator[ScenePage]:
    opened = ScenePage(client, "patches", "127.0.0.1", free_port())
    yield opened
    opened.close()


@pytest.fixture
def browser(page: ScenePage, tmp_path: Path) -> Iterator[Browser]:
    opened = open_browser(page, tmp_path)
    yield opened
    opened.driver.quit()


def view_from(page: ScenePage, client: RenderClient) -> RenderedView:
    """What the page should show, by where its camera is, what it looks at, and up."""
    camera = camera_of(page)
    up = np.array(client.describe()["up"])
    pose = look_along(camera.position - camera.look_at, up, camera.position)
    width = round(HEIGHT * camera.aspect)
    focal = HEIGHT / 2 / np.tan(camera.fov / 2)
    return client.render(Cameras.pinhole(pose[np.newaxis], HEIGHT, width, focal), 0)


def test_the_page_shows_the_scene_and_the_mouse_goes_around(
    page: ScenePage, browser: Browser, client: RenderClient
) -> None:
    from selenium.webdriver.common.actions.mouse_button import MouseButton
    from selenium.webdriver.common.by import By

    scene = client.describe()
    wait_until(lambda: "Height" in browser.text())
    for handle in page._browsers.values():
        handle._height.value = HEIGHT
    wait_for_finest(page, browser)

    # It begins where the scene's camera path does.
    first = client.camera_path().camera_to_world[0]
    np.testing.assert_allclose(camera_of(page).position, first[:, 3], atol=1e-4)
    before = browser.picture()
    assert_shows(browser, view_from(page, client), scene, "color")

    # Depth and opacity.
    for shown in ("depth", "opacity", "color"):
        browser.click(By.CSS_SELECTOR, "input[aria-haspopup=listbox]")
        browser.click(By.XPATH, f"//*[@role='option'][contains(., '{shown}')]")
        assert_shows(browser, view_from(page, client), scene, shown)

    # Orbit: elsewhere at the same distance.
    begin = camera_of(page).position.copy()
    target = camera_of(page).look_at.copy()
    browser.drag(100, 20, MouseButton.LEFT)
    wait_for_finest(page, browser)
    after = camera_of(page)
    assert np.linalg.norm(after.position - begin) > 0.5
    np.testing.assert_allclose(
        np.linalg.norm(after.position - target), np.linalg.norm(begin - target), rtol=1e-3
    )
    assert np.abs(browser.picture() - before).mean() > 8
    assert_shows(browser, view_from(page, client), scene, "color")

    # Pan: what is looked at moves along.
    browser.drag(60, 20, MouseButton.RIGHT)
    wait_for_finest(page, browser)
    assert np.linalg.norm(camera_of(page).look_at - target) > 0.1
    assert_shows(browser, view_from(page, client), scene, "color")

    # Zoom: nearer, or farther away.
    distance = np.linalg.norm(camera_of(page).position - camera_of(page).look_at)
    zoom(browser)
    wait_for_finest(page, browser)
    zoomed = np.linalg.norm(camera_of(page).position - camera_of(page).look_at)
    assert abs(zoomed / distance - 1) > 0.1
    assert_shows(browser, view_from(page, client), scene, "color")

    # Nothing comes from anywhere else.
    host = f"127.0.0.1:{page.server.get_port()}"
    own = ("blob:", "data:", f"http://{host}/", f"ws://{host}")
    foreign = {url[:80] for url in browser.requested(f"http://{host}/") if not url.startswith(own)}
    assert not foreign


def test_a_page_that_is_opened_while_nothing_is_served_says_so(
    base_path: Path, tmp_path: Path
) -> None:
    port = free_port()
    server = start_server(base_path, port)
    with RenderClient([f"127.0.0.1:{port}"], "patches", patient=False) as client:
        page = ScenePage(client, "patches", "127.0.0.1", free_port())
        server.kill()
        server.communicate()
        client._scene = None  # as after an answer that the model is gone
        browser = open_browser(page, tmp_path)
        try:
            wait_until(lambda: "No picture: UNAVAILABLE" in browser.text())
        finally:
            browser.driver.quit()
            page.close()


def zoom(browser: Browser) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    origin = ScrollOrigin.from_viewport(SIZE[0] // 3, SIZE[1] // 2)
    ActionChains(browser.driver).scroll_from_origin(origin, 0, -300).perform()


def test_pages_of_others_cannot_look_on(page: ScenePage) -> None:
    """Browsers let any page open a web socket to loopback, but say where the page is from."""
    import viser
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    host = f"127.0.0.1:{page.server.get_port()}"
    protocols: Any = [f"viser-v{viser.__version__}"]
    with connect(f"ws://{host}", origin=f"http://{host}", subprotocols=protocols) as own:  # type: ignore
        assert own.recv(timeout=30)
    for origin in ("http://elsewhere.example", "null", "http://127.0.0.1"):
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws://{host}", origin=origin, subprotocols=protocols)  # type: ignore


def test_no_browser_can_have_the_page_published(page: ScenePage) -> None:
    """The library has a tunnel to a public server for whoever asks."""
    page.server.request_share_url()
    assert page.server._share_tunnel is None
