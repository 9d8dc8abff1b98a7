"""Sites that a tunnel joins, and the files that set them up: `pywg init`."""
