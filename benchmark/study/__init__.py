"""What a study is: its sections, its TOML, its plan."""
