"""The tests that a daemon without CAP_NET_ADMIN can't pass, and which use of the capability each one makes.

With PYWG_DROP_NET_ADMIN=1 in the environment of pytest, and so of the daemons, these are expected to fail, and all
others to pass. The list is what --drop-net-admin costs, test by test; a name with parameters is of these alone.
"""

MARK = "sets a fwmark"
WG_QUICK_MARK = "wg-quick sets a fwmark, by its file or for a default route"
ELSEWHERE = "the interface is moved to another namespace, and set up there"
BUFFERS = "doctor finds that socket buffers are what net.core.rmem_max allows"

NEEDS_NET_ADMIN = {
    "test_1000_configuration_changes_under_iperf3": MARK,
    "test_what_get_shows": MARK,
    "test_fwmark_changes_without_losing_the_session": MARK,
    "test_interface_in_another_namespace": ELSEWHERE,
    "test_errno_of_every_malformed_line": MARK,
    "test_edges_of_what_set_takes": MARK,
    "test_malformed_line_changes_nothing": MARK,
    "test_log_says_which_line_is_wrong_and_no_secret": MARK,
    "test_operations_on_one_connection": MARK,
    "test_operations_in_one_packet": MARK,
    "test_end_of_the_stream_in_place_of_the_blank_line": MARK,
    "test_what_is_no_operation_is_hung_up_on": MARK,
    "test_half_written_requests_change_nothing": MARK,
    "test_silent_and_slow_clients_block_nobody": MARK,
    "test_client_that_reads_no_reply_blocks_nobody": MARK,
    "test_hostile_clients": MARK,
    "test_up_and_down_with_everything": WG_QUICK_MARK,
    "test_save_and_up_again_from_what_was_saved": WG_QUICK_MARK,
    "test_default_route_without_a_fwmark_gets_one": WG_QUICK_MARK,
    "test_strip_syncconf_addconf_setconf": WG_QUICK_MARK,
    "test_every_option_of_wg_set": MARK,
    "test_port_and_mark_change_on_the_bound_device": MARK,
    "test_route_with_the_mark_moves_to_another_link": MARK,
    "test_whatever_is_set_is_so_or_refused": MARK,
    "test_port_taken_while_down_changes_nothing": MARK,
    "test_every_thread_has_given_up_all_but_net_admin": "looks for the capability",
    "test_everything_still_works": MARK,
    "test_in_another_namespace_it_is_still_followed": ELSEWHERE,
    "test_in_another_namespace_senders_are_told_there": ELSEWHERE,
    "test_what_is_as_in_the_file": BUFFERS,
    "test_nothing_is_wrong": BUFFERS,
    "test_small_socket_buffers": BUFFERS,
    "test_a_healthy_tunnel_has_no_finding": BUFFERS,
    "test_routes_of_another_program": BUFFERS,
    "test_a_peer_whose_clock_has_gone_back": BUFFERS,
    "test_a_fault_is_found[strict_with_mark]": MARK,
    "test_each_takes_down_what_the_other_has_set_up[default routes and others]": WG_QUICK_MARK,
    "test_each_takes_down_what_the_other_has_set_up[dns]": WG_QUICK_MARK,
    "test_a_chain_of_reloads_gives_what_each_file_gives_alone": WG_QUICK_MARK,
    "test_a_signal_while_a_hook_runs": WG_QUICK_MARK,
    "test_the_difference_is_shown_done_and_undone": WG_QUICK_MARK,
    "test_a_session_goes_on": WG_QUICK_MARK,
    "test_several_interfaces_are_in_wgs_order": MARK,
    "test_two_interfaces_of_one_process_tell_their_own": MARK,
    "test_rules_are_those_of_wg_quick": WG_QUICK_MARK,
    "test_both_are_up": WG_QUICK_MARK,
    "test_what_is_left_of_another_namespace": WG_QUICK_MARK,
}
