"""How many images a second: the suite's engines, the scripts that people write, and what the machine could."""
