"""How often the rules err, by simulation."""
