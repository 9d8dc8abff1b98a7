"""`import pywg` loads nothing of the API, and neither does a daemon or a command."""

import json
import subprocess
import sys

import pytest

import pywg
from pywg import api


def loaded_by(program: str) -> set[str]:
    """What a new interpreter has loaded then, of all that an editable installation has not."""
    text = f"import sys\nsys.path = {sys.path!r}\nbefore = set(sys.modules)\n{program}\n"
    text += "found = [name for name in sys.modules if name not in before]\nimport json\nprint(json.dumps(found))"
    command = [sys.executable, "-I", "-S", "-c", text]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(ended.stdout))


def test_importing_pywg_loads_nothing_else() -> None:
    assert loaded_by("import pywg") == {"pywg"}


@pytest.mark.parametrize(
    "program",
    [
        "import pywg.__main__, pywg.cli.main, pywg.cli.run; pywg.cli.run.load()",
        "import pywg.cli.up, pywg.manage.tunnel.up, pywg.manage.tunnel.reload",
    ],
)
def test_no_daemon_and_no_command_loads_it(program: str) -> None:
    loaded = loaded_by(program)
    assert "pywg.config.model" in loaded
    assert [name for name in loaded if name.startswith("pywg.api")] == []


def test_the_first_name_that_is_used_loads_it() -> None:
    assert {"pywg.api", "pywg.api.tunnel"} <= loaded_by("import pywg; pywg.Tunnel")


def test_the_names_are_those_of_the_api() -> None:
    assert {*pywg.__all__} == {*api.__all__, "__version__"}
    for name in api.__all__:
        assert getattr(pywg, name) is getattr(api, name)


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'tunnel'"):
        pywg.tunnel  # type: ignore[attr-defined]  # noqa: B018
