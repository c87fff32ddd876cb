"""Serves a web page on which the mouse goes around a served scene.

python -m serving.viewer --server=localhost:8500 --model_name=lego

Drag to orbit, drag with the right button to pan, turn the wheel to zoom. Pictures are coarse while
the camera moves and become finer when it is still. Needs a server and nothing else.
"""

from __future__ import annotations

import logging

from absl import flags

from serving.client import flags as client_flags
from serving.ports import MAX_PORT, address
from serving.stopping import StopSignal
from tfnerf import command_line

_log = logging.getLogger("tfnerf.viewer")
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; loopback unless told.")
_PORT = flags.DEFINE_integer("port", 8080, "Port of the page.", 1, MAX_PORT)
flags.adopt_module_key_flags(client_flags)
_ROWS_PER_REQUEST = 2048
"""Few, so that little is done in vain when the camera moves."""


def main() -> None:
    """Shows the page until SIGTERM or SIGINT."""
    with client_flags.open_client(rows_per_request=_ROWS_PER_REQUEST, patient=False) as client:
        from serving.viewer.page import ScenePage

        stop = StopSignal()
        page = ScenePage(client, client_flags.model_name(), _HOST.value, _PORT.value)
        _log.info("http://%s (Ctrl-C stops)", address(_HOST.value, _PORT.value))
        stop.wait()
        page.close()


if __name__ == "__main__":
    command_line.run(main)
