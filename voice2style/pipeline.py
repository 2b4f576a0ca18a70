"""A voice in, a face out: front-end, encoder and generator as one model, loaded from one file."""

import pathlib

import torch

from dnnlib.files import fetch
from dnnlib.settings import did_you_mean, from_dict, to_dict
from torch_utils.checkpoint import load_checkpoint, load_strictly, part_of, read_card, save_checkpoint
from torch_utils.devices import pick_device
from torch_utils.random_streams import stream
from voice2style.card import Card
from voice2style.sizes import check_encoder_size, check_size

DEMO_MODEL = pathlib.Path(__file__).parent / "demo" / "model.safetensors"
_SAMPLES_FOR_A_MEAN = 4096  # for generators that were published without their mean code


class VoiceToFace(torch.nn.Module):
    """Front-end, encoder and generator. A model without a voice path has None for the first two.

    Codes are W+ codes [N, L, D] at psi 1: what `codes` returns is the mean code plus the encoder's offsets.
    """

    def __init__(self, frontend, encoder, generator, card=None):
        super().__init__()
        self.frontend = frontend
        self.encoder = encoder
        self.generator = generator
        self.card = card
        self.num_ws = generator.num_ws
        self.w_dim = generator.w_dim
        self._estimate = None
        self._engine = None

    @property
    def device(self):
        """The device that the weights are on."""
        return next(self.generator.parameters()).device

    @property
    def dtype(self):
        """The number type of the weights."""
        return next(self.generator.parameters()).dtype

    @property
    def hears(self):
        """True when the model has a voice path."""
        return self.encoder is not None

    @property
    def sample_rate_hz(self):
        """The rate of the waves that `codes` takes."""
        self._need_voice_path()
        return self.frontend.settings.sample_rate_hz

    def mean_codes(self):  # -> [1, L, D]
        """Returns the generator's mean latent in every layer: the codes of the mean face."""
        mean = getattr(self.generator.mapping, "w_avg", None)
        if mean is None:
            if self._estimate is None:
                self._estimate = self._estimated_mean()
            mean = self._estimate.to(self.device)
        return mean.detach().reshape(1, 1, self.w_dim).expand(1, self.num_ws, self.w_dim)

    def codes(self, wave, lengths=None):  # [S] or [N, S] at sample_rate_hz -> [N, L, D]
        """Returns the W+ codes of waves, at psi 1. Everything in a wave is heard: gate it first if it has pauses.

        `lengths` [N] gives the valid samples of each row when the batch is padded. Results carry gradients;
        wrap the call in torch.inference_mode() when none are wanted.
        """
        self._need_voice_path()
        wave, lengths = self._checked_wave(wave, lengths)
        features = self.frontend(wave, lengths)
        num_frames = None if lengths is None else self.frontend.num_frames(lengths)
        return self.mean_codes() + self.encoder(features, num_frames)

    def pooled(self, wave):  # [S] -> (sums, counts)
        """Returns what the encoder gathers from a wave before its last layers: parts of a long recording add up."""
        self._need_voice_path()
        wave, _ = self._checked_wave(wave, None)
        return self.encoder.pooled(self.frontend(wave))

    def codes_of_pooled(self, total, count):  # (sums, counts) -> [N, L, D]
        """Returns the codes of what `pooled` gathered: codes(wave) = codes_of_pooled(*pooled(wave))."""
        return self.mean_codes() + self.encoder.offsets(self.encoder.embedding_of(total, count))

    def truncate(self, ws, psi):  # [N, L, D] -> [N, L, D]
        """Returns mean + psi·(ws - mean): psi 1 leaves the codes, psi 0 gives the mean face."""
        mean = self.mean_codes()
        return ws if psi == 1 else mean + psi * (ws - mean)

    def synthesis(self, ws, *, noise_mode="const", generator=None, force_fp32=False):  # [N, L, D] -> [N, 3, H, W]
        """Returns the pictures of W+ codes, about [-1, 1], not clamped.

        `generator` (torch.Generator) is where noise_mode="random" draws from.
        """
        if ws.ndim != 3 or tuple(ws.shape[1:]) != (self.num_ws, self.w_dim):
            raise ValueError(f"synthesis needs codes [N, {self.num_ws}, {self.w_dim}], got {tuple(ws.shape)}.")
        engine = self._engine
        exact = force_fp32 and getattr(engine, "precision", "fp32") != "fp32"
        if engine is None or exact or torch.is_grad_enabled():
            engine = self.generator.synthesis
        return engine(ws, noise_mode=noise_mode, generator=generator, force_fp32=force_fp32)

    def accelerate(self, *, precision="auto", backend="torch"):
        """Lets `synthesis` draw by the fastest way there is, and returns a sentence that names it.

        The weights are frozen as they are now; with gradients enabled the generator itself still draws. See
        voice2style.backends for what precision and backend allow.
        """
        from voice2style.backends import engine_for

        self._engine, sentence = engine_for(self, precision=precision, backend=backend)
        return sentence

    @torch.inference_mode()
    def mean_face(self, *, noise_mode="const", seed=1):  # -> [1, 3, H, W]
        """Returns the mean face in [-1, 1]."""
        from voice2style.faces import draw

        return draw(self, self.mean_codes(), noise_mode=noise_mode, noise_seed=(seed, "noise", 0))

    @torch.inference_mode()
    def face(self, voice, *, psi=0.7, seed=1, index=0, noise_mode="const"):  # -> [1, 3, H, W]
        """Returns a face for a voice, in [-1, 1].

        `voice` is the path of a recording, or samples [S] at `sample_rate_hz`. With under a second of speech
        the mean face comes back, with a warning. `index` 0 is the encoder's own answer; each further index is
        another face that fits the same voice, its fine styles drawn from `seed`. The seed also feeds
        noise_mode="random"; nothing else depends on it.
        """
        import math
        import warnings

        from voice2style.faces import draw, face_codes
        from voice2style.listening import listen

        if not isinstance(psi, (int, float)) or not math.isfinite(psi):
            raise ValueError(f"psi is {psi!r}; give a finite number: 0 the mean face, 0.7 the usual, 1 no truncation.")
        heard = listen(self, voice)
        for note in heard.notes:
            warnings.warn(note, stacklevel=2)
        ws = face_codes(self, heard.codes, psi=psi, seed=seed, index=index)
        return draw(self, ws, noise_mode=noise_mode, noise_seed=(seed, "noise", index))

    def save(self, path):
        """Writes the model and its card to one .safetensors file; the file appears whole or not at all."""
        parts = {"G_ema": self.generator, "encoder": self.encoder}
        tensors = {f"{prefix}.{name}": tensor for prefix, part in parts.items() if part is not None
                   for name, tensor in part.state_dict().items()}
        save_checkpoint(path, tensors, self.card.to_dict())

    def _need_voice_path(self):
        if self.encoder is None:
            raise ValueError("this network has no voice path: it draws from --seeds or --projected-w; "
                             "for --wav give a checkpoint that was trained with a voice encoder.")

    def _checked_wave(self, wave, lengths):
        if isinstance(wave, (str, pathlib.PurePath)):
            raise ValueError(f'codes takes samples, but a path came ("{wave}"); read it with '
                             "voice2style.audio.waveform.read(path).samples, or give it to face.")
        wave = torch.as_tensor(wave)
        dtype = next(self.encoder.parameters()).dtype
        if not wave.is_floating_point() or wave.ndim not in (1, 2) or wave.shape[-1] == 0:
            raise ValueError("a wave is float samples [S] or [N, S] in [-1, 1] with S of 1 or more, "
                             f"got {wave.dtype} {tuple(wave.shape)}.")
        wave = wave.to(self.device, dtype)
        if not torch.isfinite(wave).all():
            raise ValueError(f"the wave has {int((~torch.isfinite(wave)).sum())} samples that are NaN or infinite.")
        if lengths is not None:
            lengths = torch.as_tensor(lengths, device=self.device)
        return (wave[None] if wave.ndim == 1 else wave), lengths

    @torch.no_grad()
    def _estimated_mean(self):  # -> [1, 1, D]
        z = torch.randn([_SAMPLES_FOR_A_MEAN, self.generator.z_dim], generator=stream(0, "mean code"))
        c_dim = self.generator.c_dim
        c = torch.eye(c_dim)[torch.arange(len(z)) % c_dim].to(self.device) if c_dim else None
        return self.generator.mapping(z.to(self.device, self.dtype), c)[:, :1].mean(dim=0, keepdim=True)


def load(network=None, *, device="auto"):
    """Returns the model in a file, ready to draw: a VoiceToFace in evaluation mode.

    `network` is a path, file:// or http(s):// address of a checkpoint of this toolkit or of any other file
    that `voice2style.load_networks` reads (then without a voice path); None is the demo model of the package.
    ValueError says in one sentence what is wrong with a file that cannot be used.
    """
    device = pick_device(device)
    path = network_file(network)
    card = read_card(path) if _looks_like_safetensors(path) else None
    model = _from_strangers(path) if card is None else _from_checkpoint(path, card)
    return model.eval().requires_grad_(False).to(device)


def network_file(network=None):
    """Returns the local path of a network; None is the demo model. Downloads an http(s):// address once."""
    if network is not None:
        return fetch(network)
    if not DEMO_MODEL.exists():
        raise ValueError(f'the demo model is not there ("{DEMO_MODEL}"); give a model with --network.')
    return DEMO_MODEL


def check_channels(model, allowed, *, name):
    """Raises ValueError, which names the network, when its pictures have another number of channels than allowed."""
    if (channels := model.generator.img_channels) not in allowed:
        *most, last = map(str, allowed)
        numbers = f"{', '.join(most)} or {last}" if most else last
        raise ValueError(f'"{name}" draws pictures of {channels} channels; allowed here: {numbers}. Give another '
                         "network, or draw with it from Python.")


def _looks_like_safetensors(path):
    with open(path, "rb") as file:
        start = file.read(9)
    return not start or str(path).endswith(".safetensors") or start[8:9] == b"{"


def _from_checkpoint(path, card):
    from voice2style.generators import GENERATORS

    card = Card.from_dict(card, where=f'the card of "{path}"')
    tensors, _ = load_checkpoint(path)
    generator = _built(GENERATORS, card.generator, part_of(tensors, "G_ema"), "generator", path)
    if card.encoder is None:
        return VoiceToFace(None, None, generator, card)
    from voice2style.audio import AudioSettings, FrontEnd
    from voice2style.encoders import ENCODERS

    audio = from_dict(AudioSettings, card.audio, where=f'the audio settings in the card of "{path}"')
    encoder = _built(ENCODERS, card.encoder, part_of(tensors, "encoder"), "encoder", path)
    _check_chain(audio, encoder.settings, generator, path)
    return VoiceToFace(FrontEnd(audio), encoder, generator, card)


def _check_chain(audio, encoder, generator, path):
    """Raises ValueError unless the encoder takes what the front-end gives, and gives what the generator takes."""
    if audio.num_features != encoder.planes * encoder.rows:
        raise ValueError(f'the card of "{path}" has a front-end of {audio.num_features} rows and an encoder of '
                         f"{encoder.planes * encoder.rows}; they do not fit together. Get the file again.")
    if (encoder.num_ws, encoder.w_dim) != (generator.num_ws, generator.w_dim):
        raise ValueError(f'the card of "{path}" has an encoder of {encoder.num_ws} x {encoder.w_dim} codes and a '
                         f"generator of {generator.num_ws} x {generator.w_dim}; they do not fit together. Get the file "
                         "again.")


def _built(table, part, tensors, role, path):
    """Returns the module that a card's part describes, with its weights."""
    if part.kind not in table:
        raise ValueError(f'"{path}" has a {role} of kind "{part.kind}", which is not known here.'
                         f"{did_you_mean(part.kind, table)} Known: {', '.join(table)}.")
    settings_class, module_class = table[part.kind]
    settings = from_dict(settings_class, part.options, where=f'the {role} in the card of "{path}"')
    check = {"stylegan2": check_size, "se_resnet": check_encoder_size}.get(part.kind)
    if check:
        check(settings, 4 * path.stat().st_size + (1 << 20), role=f'the {role} in the card of "{path}"')
    module = module_class(settings)
    load_strictly(module, tensors, where=f'the {role} of "{path}"')
    return module


def _from_strangers(path):
    from voice2style.card import Part
    from voice2style.networks import load_networks

    networks = load_networks(path)
    generator = networks.G_ema if networks.G_ema is not None else networks.G
    if generator is None:
        raise ValueError(f'"{path}" has no generator; give a file with G_ema or G.')
    card = Card(generator=Part("stylegan2", to_dict(generator.settings)), source={
        "file": path.name, "kind": networks.source.kind, "notes": list(networks.source.notes)})
    return VoiceToFace(None, None, generator, card)
