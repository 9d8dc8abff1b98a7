"""What all tests share: under CI a test that was skipped has failed, and the daemons for tests/netns can be chosen."""

import os
from collections.abc import Generator

import pytest

# The only reasons for a test not to run under CI: what it needs can't be had from the distribution's packages.
ALLOWED_SKIPS = ("PYWG_EXTRA_VECTORS", "Go is not installed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pairs",
        default="pywg:pywg,pywg:wireguard-go,wireguard-go:pywg,wireguard-go:wireguard-go",
        help="the NEAR:FAR daemons of tests/netns, by the names of bench.tunnel.implementations (default: %(default)s)",
    )


def _fail_when_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("CI") != "true" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(allowed in reason for allowed in ALLOWED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"did not run, which under CI is a failure: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_when_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_when_skipped(report)
    return report
