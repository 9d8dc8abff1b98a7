"""Floor 6: from the UDP sockets to the TUN: classify, admit, open, deliver, merge."""
