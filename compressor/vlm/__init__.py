"""Vision-language models as codec and decoder: page images to caches, caches straight into a decoder's context.

A page is encoded once by the model's own image processor, vision tower and projector (`encode`), stored in a page
file (`pagefile`), and read by the model's language model alone (`load`, `decode`), which never sees a pixel.
"""
