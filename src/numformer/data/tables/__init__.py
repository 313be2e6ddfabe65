"""Tables by the names of their columns, in and out, and texts with a label or a number beside each."""
