"""`pywg ping`: round trips through a tunnel, and the largest packet that fits it."""
