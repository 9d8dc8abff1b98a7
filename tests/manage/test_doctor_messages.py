"""pyroute2's messages without its front door."""

import subprocess
import sys


def python(program: str) -> str:
    """What a fresh interpreter prints. `imported` names all modules whose import was begun so far."""
    prelude = (
        "import sys; imported = []\n"
        "sys.addaudithook(lambda event, args: imported.append(args[0]) if event == 'import' else None)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", prelude + program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_front_door_stays_shut() -> None:
    program = """
from pywg.manage.doctor.messages import messages
assert messages().link.library_class.__name__ == "ifinfmsg"
assert "pyroute2.common" in imported
assert "pyroute2.ndb.main" not in imported and "pyroute2.iproute" not in imported
print([name for name in sys.modules if name.split(".")[0] == "pyroute2"])
"""
    assert python(program) == "[]\n"


def test_pyroute2_can_be_imported_as_always_afterwards() -> None:
    program = """
from pywg.manage.doctor.messages import messages
from pywg.runtime.net.netlink import Questions
ours = messages()
import pyroute2
import pyroute2.netlink.rtnl.ifinfmsg
assert "pyroute2.ndb.main" in imported
with pyroute2.IPRoute() as route:
    (lo,) = route.get_links(ifname="lo")
assert isinstance(lo, pyroute2.netlink.rtnl.ifinfmsg.ifinfmsg)
assert messages() is ours
print(Questions().ask(18, ours.link, {}, {"IFLA_IFNAME": "lo"}).get_attr("IFLA_MTU") == lo.get_attr("IFLA_MTU"))
"""
    assert python(program) == "True\n"


def test_an_open_front_door_is_used() -> None:
    program = """
import pyroute2
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from pywg.manage.doctor.messages import messages
print(messages().route.library_class is rtmsg, sys.modules["pyroute2"] is pyroute2)
"""
    assert python(program) == "True True\n"


def test_the_front_door_is_the_way_in_when_there_is_no_other() -> None:
    program = """
from pywg.manage.doctor import messages
from pywg.runtime.base.log import Level, Log
find_spec = messages.importlib.util.find_spec
messages.importlib.util.find_spec = lambda name: None if name == "pyroute2" else find_spec(name)
print(messages.messages().link.library_class.__name__, "pyroute2.ndb.main" in imported, "pyroute2" in sys.modules)
"""
    assert python(program) == "ifinfmsg True True\n"
