"""Owns rows, bytes and vectors. Knows no torch."""
