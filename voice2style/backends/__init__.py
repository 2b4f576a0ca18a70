"""What computes the pictures: torch by a frozen plan, CUDA graphs, or OpenVINO; chosen by name, never in silence."""

BACKENDS = ("torch", "openvino")
PRECISIONS = ("auto", "fp32", "bf16")
BF16_FROM = 512  # pixels: below it the layers are too thin for bfloat16 to pay on a processor


def engine_for(model, *, precision="auto", backend="torch"):
    """Returns a callable like `generator.synthesis` for a VoiceToFace, and a sentence about it.

    precision auto: float32; bfloat16 on a processor that has its instructions, from pictures of 512² on. On a GPU auto
    keeps the half-precision layers that the network asks for. ValueError when a wish cannot be met here.
    """
    if backend not in BACKENDS or precision not in PRECISIONS:
        raise ValueError(f"backend {backend!r} with precision {precision!r}; allowed: {', '.join(BACKENDS)} with "
                         f"{', '.join(PRECISIONS)}.")
    resolved = resolve_precision(model, precision)
    if backend == "openvino":
        from voice2style.backends.openvino import OpenVinoSynthesis

        return OpenVinoSynthesis(model, precision=resolved), f"OpenVINO, {resolved}"
    synthesis = model.generator.synthesis
    if model.device.type not in ("cpu", "cuda") or not _freezable(model):
        return synthesis, f"torch on {model.device.type}"
    from voice2style.generators.fast_stylegan2 import FastSynthesis

    plan = FastSynthesis(synthesis, precision=resolved)
    if model.device.type == "cpu":
        return plan, f"torch, frozen plan, {resolved}"
    from torch_utils.devices import set_tf32
    from voice2style.generators.graphed import GraphedSynthesis

    set_tf32(False)
    return GraphedSynthesis(plan, exact=synthesis, device=model.device), f"torch, CUDA graph, {resolved}"


def resolve_precision(model, precision):
    """Returns fp32, bf16 or fp16 for a wish and the model's device; ValueError where bf16 is wanted and not there."""
    from torch_utils.precision import has_bf16

    if precision == "bf16" and not has_bf16(model.device):
        raise ValueError("precision bf16: this processor has no bfloat16 instructions; use fp32 or auto.")
    if precision != "auto":
        return precision
    if model.device.type == "cuda":
        return "fp16"  # in the blocks that the network asks it for; with num_fp16_res 0 that is none
    big = getattr(model.generator, "img_resolution", 0) >= BF16_FROM
    return "bf16" if big and model.device.type == "cpu" and has_bf16("cpu") else "fp32"


def _freezable(model):
    from voice2style.generators.stylegan2 import Generator

    return isinstance(model.generator, Generator) and str(model.dtype) == "torch.float32"
