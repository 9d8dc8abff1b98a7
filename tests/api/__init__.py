"""The API for programs, `pywg.Tunnel`: what needs no interface. With interfaces, tests/netns/test_python.py."""
