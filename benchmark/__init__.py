"""Trains CNN variants and logs what happened: the half of the suite that computes."""
