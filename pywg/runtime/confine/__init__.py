"""Privileges and system calls that the daemon drops after its start."""
