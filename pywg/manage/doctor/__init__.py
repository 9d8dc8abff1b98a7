"""`pywg doctor`: why there is no tunnel, or a bad one.

What is so is gathered once as plain data (pywg.manage.doctor.facts), by the modules named gather_*. The checks are
functions from those facts to findings, a module for each theme; pywg.manage.doctor.checks has the table of them.
"""
