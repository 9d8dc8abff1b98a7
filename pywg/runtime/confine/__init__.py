"""Privileges and system calls that the daemon gives up once it has started."""
