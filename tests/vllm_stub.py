"""A server on this machine that reads requests as vLLM 0.33 does, and answers in its way.

What it checks is what vLLM's own parsing checks: `vllm/renderers/chat_utils/content_parser.py`,
`vllm/renderers/embed_utils.py`, `vllm/multimodal/media/image.py`, `vllm/multimodal/parse.py`. The tests of
connectors/vllm hold the same requests against vLLM itself.
"""

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import numpy as np
import torch

from tests.chat_stub import EVENTS, PLAIN, serving

PIECES = ("Ninety ", "days.")


class Refused(Exception):
    """What vLLM answers with 400."""


@dataclass
class VllmStub:
    """How it was started, and what it was sent."""

    model: str
    width: int
    root: str | None = None
    mm_embeds: bool = True
    prompt_embeds: bool = True
    consumer: bool = False  # of an encoder cache
    max_model_len: int = 4096
    answers: list[tuple[int, str, list[bytes]]] = field(default_factory=list)  # instead of its own
    url: str = ""
    requests: list[dict] = field(default_factory=list)
    images: list[tuple[str, torch.Tensor | None, list[int]]] = field(default_factory=list)
    prompts: list[torch.Tensor] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def read(self, path: str, request: dict) -> None:
        self.paths.append(path)
        self.requests.append(request)
        if request["model"] != self.model:
            raise Refused(f"The model `{request['model']}` does not exist.")
        if path.endswith("/chat/completions"):
            for message in request["messages"]:
                for part in message["content"]:
                    if part["type"] == "image_embeds":
                        self.images.append((part["uuid"], *self.read_image(part["image_embeds"])))
        else:
            self.prompts.append(self.read_prompt(request["prompt_embeds"]))

    def read_image(self, embeds: dict) -> tuple[torch.Tensor | None, list[int]]:
        if not self.mm_embeds and not self.consumer:
            raise Refused("You must set `--enable-mm-embeds` to input `image_embeds`")
        if "image_embeds" not in embeds:
            if not self.consumer:
                raise Refused(
                    "The data should contain the fields: {'image_grid_thw', 'image_embeds'}, "
                    "but only found the following keys: {'image_grid_thw'}"
                )
            return None, embeds["image_grid_thw"]
        data = base64.b64decode(embeds["image_embeds"], validate=True)
        assert data[:6] == b"\x93NUMPY"
        rows = torch.from_numpy(np.load(io.BytesIO(data)))
        assert rows.ndim == 2
        return rows, embeds["image_grid_thw"]

    def read_prompt(self, embeds: str) -> torch.Tensor:
        if not self.prompt_embeds:
            raise Refused("You must set `--enable-prompt-embeds` to input `prompt_embeds`.")
        prompt = torch.load(io.BytesIO(base64.b64decode(embeds, validate=True)), weights_only=True)
        if prompt.shape[1] != self.width:
            raise Refused(f"`prompt_embeds` hidden_size {prompt.shape[1]} does not match {self.width}.")
        assert prompt.is_floating_point()
        return prompt


def handler_of(stub: VllmStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *given: object) -> None:
            pass

        def answer(self, status: int, kind: str, parts: list[bytes]) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            for part in parts:
                self.wfile.write(part)

        def do_GET(self) -> None:
            root = stub.root or stub.model
            card = {"id": stub.model, "object": "model", "root": root, "max_model_len": stub.max_model_len}
            self.answer(200, PLAIN, [json.dumps({"object": "list", "data": [card]}).encode()])

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                stub.read(self.path, request)
            except Refused as refused:
                error = {"message": str(refused), "type": "BadRequestError", "code": 400}
                self.answer(400, PLAIN, [json.dumps({"error": error}).encode()])
                return
            own = (200, EVENTS, [*(piece(self.path, text) for text in PIECES), b"data: [DONE]\n\n"])
            self.answer(*(stub.answers.pop(0) if stub.answers else own))

    return Handler


def piece(path: str, text: str) -> bytes:
    choice = {"delta": {"content": text}} if path.endswith("/chat/completions") else {"text": text}
    return f"data: {json.dumps({'choices': [{'index': 0, **choice}]})}\n\n".encode()


@contextmanager
def vllm_stub(model: str, width: int) -> Iterator[VllmStub]:
    stub = VllmStub(model, width)
    with serving(handler_of(stub)) as url:
        stub.url = url
        yield stub
