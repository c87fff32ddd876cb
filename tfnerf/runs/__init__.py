"""Run folders: how they begin, what is in them, reading them again."""
