"""The tests that look for what only the sandbox does, and fail with PYWG_SANDBOX=0 in the environment of pytest.

All others pass then too, by what was asked for by name (--user, --drop-net-admin) and without waiting for the sandbox.
"""

import os

SANDBOXED = os.environ.get("PYWG_SANDBOX") != "0"
"""Whether daemons without a variable of their own are in the sandbox."""

NEEDS_SANDBOX = {
    "test_every_thread_has_given_up_all_but_net_admin": "looks for the capabilities that are gone",
    "test_no_io_uring_is_open": "the sandbox alone keeps libuv from one",
    "test_helpers_are_in_the_sandbox_with_the_others": "looks for the filters",
    "test_many_helpers_with_libcrypto_need_no_other_system_call": "looks for the filters",
    "test_the_wheel_carries_a_tunnel": "looks for the sandbox",
    "test_the_daemon_is_outside_confined_and_closed_to_its_own_user": "looks for the filters",
    "test_a_stream_and_pings_go_through[pywg]": "looks for the filters after a handover",
    "test_a_daemon_and_another_that_is_attached_to_it": "the guide's program prints whether there are filters",
    # `pywg doctor` says that the sandbox is off
    "test_no_sandbox": "its control has none either",
    "test_what_is_as_in_the_file": "finds one thing",
    "test_nothing_is_wrong": "finds one thing",
    "test_a_healthy_tunnel_has_no_finding": "finds one thing",
    "test_routes_of_another_program": "finds one thing more",
    "test_a_peer_whose_clock_has_gone_back": "finds one thing more",
}
