"""Hours of mixed traffic through a tunnel that never rests: python -m bench.soak."""
