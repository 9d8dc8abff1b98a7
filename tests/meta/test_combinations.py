"""What tests/netns/combinations.py makes of a run: its counts, and its row of the table."""

from pathlib import Path

from tests.netns.combinations import COMBINATIONS, DOCUMENT, HEADER, Counts, counted, row, with_row

REPORT = """<testsuites><testsuite>
<testcase name="a"/><testcase name="b"><properties/></testcase>
<testcase name="c"><skipped type="pytest.xfail"/></testcase>
<testcase name="d[1]"><failure/></testcase><testcase name="e"><error/></testcase>
<testcase name="f"><skipped/></testcase>
<testcase name="g"><skipped type="pytest.skip" message="wireguard-go is not among the --pairs"/></testcase>
</testsuite></testsuites>"""


def test_what_is_counted(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    assert counted(report) == Counts(2, 1, ["d[1]", "e", "f"])


def test_a_row_takes_the_place_of_the_one_of_before() -> None:
    page = f"before\n\n{HEADER}\nafter\n"
    once = with_row(page, row("user", Counts(5, 1, ["x"]), "abc"))
    assert once == f"before\n\n{HEADER}| `PYWG_USER=nobody` | abc | 5 | 1 | 1: x | nothing |\n\nafter\n"
    both = with_row(once, row("user-net-admin", Counts(3, 2, []), "abc"))
    assert both.count("\n| `") == 2
    again = with_row(both, row("user", Counts(6, 1, []), "abc"))
    assert again == both.replace("| 5 | 1 | 1: x |", "| 6 | 1 | 0 |")


def test_the_page_has_a_row_for_each() -> None:
    rows = DOCUMENT.read_text().partition(HEADER)[2].partition("\n\n")[0].splitlines()
    wanted = [row(name, Counts(0, 0, []), "").split(" | ")[0] for name in COMBINATIONS]
    assert sorted(one.split(" | ")[0] for one in rows) == sorted(wanted)
