"""Reads what was logged, judges and draws: the half of the suite that concludes."""
