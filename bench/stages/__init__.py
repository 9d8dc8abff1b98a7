"""What each stage of the data plane costs, and what follows from that: python -m bench.stages."""
