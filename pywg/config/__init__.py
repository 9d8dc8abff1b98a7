"""Configuration as text: the UAPI of wg(8) and the files of wg-quick(8), both to and from plain data classes."""
