"""What commands are made of: their options, where inputs come from, and where outputs go."""
