"""Images per second: of the suite's engines, of the scripts that people write, and what the machine could."""
