"""The HTTP routes, one file a noun; each route reads its input, calls one function and shapes the answer."""
