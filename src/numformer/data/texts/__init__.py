"""Long texts to train on: known by name, read in chunks, and cut into windows of tokens."""
