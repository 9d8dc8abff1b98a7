"""nsswitch.conf without sources that ask outside of the network of the one who asks."""

import pytest

from pywg.manage.exec.mounts import asking_dns_alone


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("hosts: files dns\n", "hosts: files dns\n"),
        ("passwd: files\nhosts:  files mdns4_minimal [NOTFOUND=return] dns\n", "passwd: files\nhosts: files dns\n"),
        (
            "hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns # as systemd has it\nnetworks: files\n",
            "hosts: files myhostname dns\nnetworks: files\n",
        ),
        ("hosts: resolve\n", "hosts: files dns\n"),
        ("hosts: sss wins libvirt\n", "hosts: files dns\n"),
        ("passwd: files\n", "passwd: files\nhosts: files dns\n"),
        ("", "\nhosts: files dns\n"),
        ("#hosts: resolve\nhosts: dns resolve\nhosts: resolve\n", "#hosts: resolve\nhosts: dns\nhosts: dns\n"),
    ],
)
def test_hosts_are_asked_of_files_and_dns_alone(before: str, after: str) -> None:
    assert asking_dns_alone(before) == after
