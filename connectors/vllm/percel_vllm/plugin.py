"""Owns what vLLM is told when it starts: GLM models with a door for image embeds."""

GLM = {
    "Glm4vForConditionalGeneration": "percel_vllm.glm:Glm4vWithEmbeds",
    "GlmOcrForConditionalGeneration": "percel_vllm.glm:GlmOcrWithEmbeds",
}


def register() -> None:
    """Names the classes; they are imported where a GLM model is served. vLLM calls this once a process."""
    from vllm.model_executor.models.registry import ModelRegistry

    for architecture, place in GLM.items():
        ModelRegistry.register_model(architecture, place)
