"""The sixteen sources of the paper and its published sets: a table of them, the rows of each, the files of a hub."""
