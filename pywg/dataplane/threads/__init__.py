"""Floor 7: the threads that send and receive, from start to end, and the hand-off of sending between the two."""
