"""Speech2Face's regression of a voice onto the face recogniser's features (Oh et al. 2019)."""

import torch.nn.functional as F


def feature_loss(voice, face, *, norm=1):  # [N, K], [N, K] -> []
    """Returns E Σ_k |v/‖v‖ - f/‖f‖| (norm 1), or the squared length of that difference (norm 2)."""
    if norm not in (1, 2):
        raise ValueError(f"norm is {norm!r}; allowed: 1 or 2")
    difference = F.normalize(voice, dim=1) - F.normalize(face, dim=1)
    return difference.abs().pow(norm).sum(1).mean()


def distillation_loss(voice_logits, face_logits, *, temperature=2.0):  # [N, P], [N, P] -> []
    """Returns E -Σ_i p_i(face) ln p_i(voice), p(a) = softmax(a / T): the recogniser's last layer taught to the voice.

    The face's side is the teacher and gets no gradient (Hinton et al. 2015).
    """
    teacher = (face_logits.detach() / temperature).softmax(1)
    return -(teacher * (voice_logits / temperature).log_softmax(1)).sum(1).mean()
