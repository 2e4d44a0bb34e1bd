"""What a study does, stage by stage."""
