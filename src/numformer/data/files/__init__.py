"""What every reader of files is made of: lines of text, rows of JSON or between delimiters, the examples that come out."""
