"""What everything stands on: sections, registries, errors, random streams, the machine."""
