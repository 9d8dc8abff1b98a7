"""What all tests share: where no skip is allowed, one is a failure; the daemons for tests/netns can be chosen."""

import os
from collections.abc import Generator

import pytest

from tests.fuzz import background, guided

# The only reasons for a test not to run where no skip is allowed: the distribution's packages lack what it needs, or
# the machine around this one takes all core files.
ALLOWED_SKIPS = ("PYWG_EXTRA_VECTORS", "Go is not installed", "this processor lacks", "cores go to ", guided.NOT_HERE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pairs",
        default="pywg:pywg,pywg:wireguard-go,wireguard-go:pywg,wireguard-go:wireguard-go",
        help="the NEAR:FAR daemons of tests/netns, by the names of bench.tunnel.implementations (default: %(default)s)",
    )
    parser.addoption(
        "--unrest-seconds",
        type=float,
        default=8.0,
        help="how long everything changes under a tunnel in tests/netns/test_sanitized.py (default: %(default)s)",
    )
    parser.addoption(
        "--no-skips",
        action="store_true",
        default=os.environ.get("CI") == "true",
        help="a test that is skipped has failed (default where CI=true)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(background, "fuzzers in the background")


def _fail_when_skipped(config: pytest.Config, report: pytest.TestReport | pytest.CollectReport) -> None:
    if not config.getoption("--no-skips") or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(allowed in reason for allowed in ALLOWED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"did not run, which is a failure here: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_when_skipped(item.config, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_when_skipped(collector.config, report)
    return report
