"""Trains CNN variants and logs what happened: the half of the suite that computes."""

# Results compare only within one Major.Minor; CHANGELOG.md says what changed.
PROTOCOL_VERSION = "1.1"
