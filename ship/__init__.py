"""What is handed on: the source distribution, wheels, the Debian package. Nothing of it is installed with pywg."""
