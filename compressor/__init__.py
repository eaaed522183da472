"""Pixels and tokens: documents to images, images to caches, caches to answers.

Knows no database, queue or HTTP.
"""
