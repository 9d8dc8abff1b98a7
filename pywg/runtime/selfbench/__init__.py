"""Measurements of what this machine does for a data plane: its ciphers and its offloads."""
