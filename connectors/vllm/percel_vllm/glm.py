"""Owns GLM models that take image embeds: vLLM 0.33 can compute with theirs, but its parser does not let them in.

Its plain parser takes the dictionary of embeds and grid for a list of two images. With the parser of Qwen2-VL, whose
grid means the same, they are parsed, and the encoder cache can be filled by a connector.
"""

from vllm.model_executor.models.glm4_1v import (
    Glm4vDummyInputsBuilder,
    Glm4vForConditionalGeneration,
    Glm4vMultiModalProcessor,
    Glm4vProcessingInfo,
)
from vllm.model_executor.models.glm_ocr import GlmOcrForConditionalGeneration
from vllm.model_executor.models.qwen2_vl import Qwen2VLMultiModalDataParser
from vllm.multimodal import MULTIMODAL_REGISTRY


class EmbedsInfo(Glm4vProcessingInfo):
    """GLM's, with a parser that knows embeds."""

    def get_data_parser(self) -> Qwen2VLMultiModalDataParser:
        return Qwen2VLMultiModalDataParser(
            self.get_hf_config().vision_config.spatial_merge_size,
            video_needs_metadata=True,
            expected_hidden_size=self._get_expected_hidden_size(),
            allow_missing_mm_embeddings=self.allow_missing_mm_embeddings,
        )


_with_embeds = MULTIMODAL_REGISTRY.register_processor(
    Glm4vMultiModalProcessor, info=EmbedsInfo, dummy_inputs=Glm4vDummyInputsBuilder
)


@_with_embeds
class Glm4vWithEmbeds(Glm4vForConditionalGeneration):
    """GLM-4.1V and Glyph."""


@_with_embeds
class GlmOcrWithEmbeds(GlmOcrForConditionalGeneration):
    """GLM-OCR."""
