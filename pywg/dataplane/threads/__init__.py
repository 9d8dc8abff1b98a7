"""Floor 6: the threads that send and receive, from start to end, and who sends while there is little to send."""
