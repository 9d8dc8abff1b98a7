"""`pywg systemd`: the units of an installation by pip, written where systemd looks."""

import argparse

from pywg.cli.parser import CommandParser

_DESCRIPTION = """\
Writes systemd units for this installation of pywg, or removes them. A package
of the distribution includes its own units and needs neither.
"""
_INSTALL = """\
Writes pywg-quick@.service, pywg@.service, pywg-companion@.service,
pywg-metrics.service and pywg.service into /etc/systemd/system, with the path of
this pywg, makes the group pywg-monitor, which pywg-metrics.service is in, and
has systemd read the units. A file there that is not pywg's stays, and then
nothing is written. It starts nothing: systemctl enable --now pywg-quick@wg0.
"""
_UNINSTALL = """\
Removes the units that install has written, unless one is enabled. The group
stays.
"""


def define(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = _DESCRIPTION
    words = parser.words("WHAT")
    install = words.add_parser("install", help="write the units")
    install.description = _INSTALL
    install.add_argument("-n", "--dry-run", action="store_true", help="print the units, and write nothing")
    install.set_defaults(execute=_install)
    uninstall = words.add_parser("uninstall", help="remove them")
    uninstall.description = _UNINSTALL
    uninstall.set_defaults(execute=_uninstall)


def _install(given: argparse.Namespace) -> int:
    from pywg.manage import service_units as service

    if (brought := service.packaged()) is not None:
        print(f"nothing to do: {brought} came with a package")
        return 0
    wanted = service.units(service.program(), service.DIRECTORY)
    if given.dry_run:
        print("\n".join(f"# {unit.path}\n{unit.text}" for unit in wanted), end="")
        print(f"\n# and, where there is no such group: groupadd --system {service.MONITORS}")
        return 0
    changed = [f"{path} is written" for path in service.install(wanted)]
    if service.make_group():
        changed.append(f"the group {service.MONITORS} is made, for pywg-metrics.service")
    service.reload_systemd()
    print("\n".join(changed) or "nothing to do: the units are there")
    return 0


def _uninstall(given: argparse.Namespace) -> int:
    from pywg.manage import service_units as service

    removed = service.uninstall(service.DIRECTORY)
    service.reload_systemd()
    print("".join(f"{path} is removed\n" for path in removed) or "nothing to do: there are none of pywg's\n", end="")
    return 0
