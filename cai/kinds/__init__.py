"""One module a kind of data file: which rows are of that kind, and a row as its record."""
