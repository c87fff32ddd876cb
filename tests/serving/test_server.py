"""The command: ports, TLS, metrics, health, mistakes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import grpc
import pytest
from commands import run
from servers import Serve, Server, health_of, metrics_of

from serving.client.channel import ServerError
from serving.client.rendering import RenderClient


def test_a_port_in_use_is_said_in_one_line(server: Server, base_path: Path) -> None:
    flag = f"--port={server.address.rpartition(':')[2]}"
    arguments = ["--model_name=disc", f"--model_base_path={base_path}", flag]
    output = run("serving.server", *arguments, status=1)
    assert output == (f"error: {flag}: cannot listen on {server.address}: Address already in use\n")


def test_tls_metrics_and_health(serve: Serve, base_path: Path, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    server = serve(
        "--model_name=disc",
        f"--model_base_path={base_path}",
        f"--tls_certificate={certificate}",
        f"--tls_key={key}",
        f"--tls_client_ca={certificate}",
        "--metrics_port=0",
    )
    try:
        pem = certificate.read_bytes()
        address = server.address.replace("127.0.0.1", "localhost")
        with RenderClient([address], "disc", tls=(pem, key.read_bytes(), pem)) as client:
            assert client.status()[0].state == "AVAILABLE"
            client.render(client.camera_path(), 0)
        both = [address, address.replace("localhost", "127.0.0.1")]
        with RenderClient(both, "disc", tls=(pem, key.read_bytes(), pem)) as client:
            assert client.status()[0].state == "AVAILABLE"
        with (
            RenderClient([address], "disc", seconds=3, tls=(pem, None, None)) as stranger,
            pytest.raises(ServerError),
        ):
            stranger.status()
        with (
            RenderClient([address], "disc", seconds=3) as plain,
            pytest.raises(ServerError),
        ):
            plain.status()
        credentials = grpc.ssl_channel_credentials(pem, key.read_bytes(), pem)
        assert health_of(grpc.secure_channel(address, credentials)) == "SERVING"
        text = metrics_of(server)
        assert 'tfnerf_requests_total{code="OK",method="Predict",model="disc"}' in text
        assert 'tfnerf_run_seconds_count{model="disc",signature="serving_default"}' in text
        assert 'tfnerf_newest_version{model="disc"} 1.0' in text
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--model_config_file, or --model_name and --model_base_path"),
        (["--model_name=x"], "--model_name and --model_base_path: expected both"),
        (["--model_name=x", "--model_base_path=nowhere"], "nowhere: no such folder"),
        (["--model_config_file=nowhere"], "nowhere: no such file"),
        (
            ["--model_name=x", "--model_base_path=configs", "--tls_key=a"],
            "--tls_certificate and --tls_key: expected both",
        ),
        (
            ["--model_name=x", "--tls_certificate=/etc/hostname", "--tls_key=/etc/hostname"],
            "--tls_key=/etc/hostname: found no PEM",
        ),
        (["--model_name=x", "--model_base_path=configs", "--host="], "--host: found nothing"),
        (["--model_name=x", "--stop_seconds=inf"], "--stop_seconds=inf"),
    ],
)
def test_mistakes_end_in_one_line(arguments: list[str], message: str) -> None:
    output = run("serving.server", *arguments, status=1)
    assert message in output and len(output.splitlines()) == 1, output
