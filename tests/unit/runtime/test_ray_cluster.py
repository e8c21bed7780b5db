"""What workers of a cluster are told, and that letting go without having connected is harmless."""

import subprocess
import sys

from thresher.runtime.ray_cluster import passed_environment


def test_settings_are_passed_and_credentials_are_not() -> None:
    environment = {
        "AWS_ENDPOINT_URL": "http://store:9000",
        "AWS_REGION": "eu-1",
        "THRESHER_CACHE": "/cache",
        "AWS_ACCESS_KEY_ID": "AK",
        "AWS_SECRET_ACCESS_KEY": "SK",
        "AWS_SESSION_TOKEN": "ST",
        "OPENAI_API_KEY": "OK",
        "PATH": "/bin",
    }
    assert set(passed_environment(environment)) == {"AWS_ENDPOINT_URL", "AWS_REGION", "THRESHER_CACHE"}


def test_disconnecting_an_unconnected_process_does_not_even_import_ray() -> None:
    imports = "import sys; from thresher.runtime.ray_cluster import disconnect"
    code = f"{imports}; disconnect(); assert 'ray' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
