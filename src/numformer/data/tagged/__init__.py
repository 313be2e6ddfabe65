"""Words with tags, in column files."""
