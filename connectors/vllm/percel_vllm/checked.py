"""Owns the looking after pages before a request runs: found, of the right model and size, and whole, in the background.

What fails here fails one request; what fails while the model runs stops the engine. Knows nothing of vLLM.
"""

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from percel_vllm.names import PageError, page_path, read_name
from percel_vllm.pages import Page, load_page, open_page, read_parts

KNOWN = 100_000  # names of pages whose check is remembered
THREADS = 4


class CheckedPages:
    """Pages of one model in one directory of blobs. Safe for several threads."""

    def __init__(self, root: Path, model: str) -> None:
        self.root = root
        self.model = model
        self._checks: OrderedDict[str, Future[int]] = OrderedDict()  # -> rows
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="percel-pages")
        self._lock = threading.Lock()

    def find(self, name: str) -> Page:
        """The page behind a name, by its file's header. Raises PageError."""
        known = read_name(name)
        if known.model != self.model:
            raise PageError(f"{name} is of {known.model}; this server reads pages of {self.model}")
        page = open_page(page_path(self.root, known), known.entry)
        if page.model != self.model:
            raise PageError(f"{name} was made by {page.model}; this server reads pages of {self.model}")
        return page

    def is_there(self, name: str) -> bool:
        """Whether a page was checked and its file has not gone since."""
        check = self._checks.get(name)
        if check is None or not check.done() or check.exception() is not None:
            return False
        try:
            return page_path(self.root, read_name(name)).is_file()
        except PageError:
            return False

    def check(self, name: str, rows: int) -> bool:
        """True for a page that is whole and has so many rows, False while that is being found out. Raises PageError."""
        with self._lock:
            check = self._checks.get(name)
            if check is None:
                check = self._checks[name] = self._pool.submit(self._check, name)
            self._checks.move_to_end(name)
            while len(self._checks) > KNOWN:
                self._checks.popitem(last=False)
        if not check.done():
            return False
        error = check.exception()
        if error is None and not self.is_there(name):
            error = PageError(f"the file of {name} has gone")
        if error is not None:
            with self._lock:
                self._checks.pop(name, None)  # a file may be put back
            raise error if isinstance(error, PageError) else PageError(f"{name} cannot be checked: {error}")
        if check.result() != rows:
            raise PageError(f"{name} has {check.result()} rows; the grid in the request asks for {rows}")
        return True

    def load(self, name: str, *, device: str, dtype: torch.dtype) -> Tensor:
        """Its numbers, as `load_page`. Raises PageError."""
        return load_page(self.find(name), device=device, dtype=dtype)

    def close(self) -> None:
        """Waits for nothing."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _check(self, name: str) -> int:
        page = self.find(name)
        read_parts(page)
        return page.rows
