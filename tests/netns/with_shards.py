"""The tests that count on an interface with one shard, and fail with PYWG_SHARDS=2 in the environment of pytest.

All others pass then too.
"""

THREADS = "has threads for one shard"
SOCKETS = "counts the sockets of a port, or the threads of a name"

NEEDS_ONE_SHARD = {
    "test_port_0_is_some_port_and_both_families_have_it": SOCKETS,
    "test_two_files_with_one_listen_port": SOCKETS,
    "test_thread_that_hangs_ends_the_signs_of_life": SOCKETS,
    "test_a_new_daemon_that_fails_leaves_the_old_one_as_it_was": "a handover of one shard has the first format",
    "test_several_interfaces_go_together_and_another_user_stays_another": THREADS,
    "test_two_interfaces_and_one_ends": THREADS,
    "test_bulk_and_bytes_both_ways_with_helpers[3-0]": THREADS,
    "test_bulk_and_bytes_both_ways_with_helpers[4-0]": THREADS,
    "test_helpers_are_in_the_sandbox_with_the_others": THREADS,
    "test_one_processor_from_the_start[auto]": THREADS,
}
MAY_NEED_ONE_SHARD = {
    "test_handshake_then_data_both_ways": "a datagram in fragments has another queue than the flow's others",
    "test_bulk_and_bytes_both_ways_with_helpers[8-1]": (
        "a shard whose thread waits for a processor meanwhile may be overtaken by a whole window"
    ),
}
"""These may pass as well."""
