"""Makers of the demo documents that cannot be edited as text: one module per document, each with `write(path)`."""
