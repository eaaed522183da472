"""The edges: the command line and answers; HTTP builds on the same functions."""
