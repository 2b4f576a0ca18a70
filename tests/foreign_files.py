"""Writes files as strangers' programs write them, without those programs: for tests of `voice2style.foreign`."""

import collections
import io
import json
import math
import pickle
import types
import warnings
import zipfile

import numpy as np
import torch


class Global:
    """A global to be written by its two names; nothing of that name needs to exist."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """A call to be written: `maker(*args)`, then dictionary items, then BUILD with a state."""

    def __init__(self, module, name, *args, items=None, state=None, new=False):
        self.maker, self.args, self.items, self.state, self.new = Global(module, name), args, items, state, new


class Writer(pickle._Pickler):
    """Python's pickler, with Global and Call written as opcodes, and numpy's old names on request."""

    dispatch = pickle._Pickler.dispatch.copy()
    numpy1, cuda = False, False

    def save_global_marker(self, marker):
        if id(marker) in self.memo:
            return self.write(self.get(self.memo[id(marker)][0]))
        module = marker.module
        if self.proto >= 4:
            self.save(module)
            self.save(marker.name)
            self.write(pickle.STACK_GLOBAL)
        else:
            module = (
                {"builtins": "__builtin__", "copyreg": "copy_reg"}.get(module, module) if self.proto < 3 else module
            )
            self.write(pickle.GLOBAL + f"{module}\n{marker.name}\n".encode())
        self.memoize(marker)

    def save_call(self, call):
        if id(call) in self.memo:
            return self.write(self.get(self.memo[id(call)][0]))
        self.save(call.maker)
        self.save(tuple(call.args))
        self.write(pickle.NEWOBJ if call.new and self.proto >= 2 else pickle.REDUCE)
        self.memoize(call)
        if call.items is not None:
            self._batch_setitems(call.items.items())
        if call.state is not None:
            self.save(call.state)
            self.write(pickle.BUILD)

    dispatch[Global] = save_global_marker
    dispatch[Call] = save_call

    def save_global(self, obj, name=None):
        module = getattr(obj, "__module__", "") or ""
        if self.numpy1 and module.startswith("numpy._core"):
            return self.save_global_marker(Global(module.replace("_core", "core"), obj.__name__))
        return super().save_global(obj, name)

    dispatch[type] = save_global
    dispatch[types.FunctionType] = save_global

    def save_bytes(self, data):
        if self.cuda:
            data = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
        super().save_bytes(data)

    dispatch[bytes] = save_bytes


def write_pickle(path, obj, *, protocol=4, numpy1=False, cuda=False):
    """A plain pickle file; tensors inside are written as torch's own pickling does (nested streams)."""
    with open(path, "wb") as file:
        writer = Writer(file, protocol)
        writer.numpy1, writer.cuda = numpy1, cuda
        writer.dump(obj)
    return path


def write_torch(path, obj, *, zipped=True):
    """torch.save of the same objects: the zip archive or the older stream."""
    module = types.SimpleNamespace(
        Pickler=Writer, dump=lambda o, f, protocol=2: Writer(f, protocol).dump(o), __name__="writer"
    )
    torch.save(obj, path, pickle_module=module, _use_new_zipfile_serialization=zipped)
    return path


def pickled(obj, protocol=4):
    buffer = io.BytesIO()
    Writer(buffer, protocol).dump(obj)
    return buffer.getvalue()


# ---- NVIDIA PyTorch: our modules in the clothes of the ada and sg3 repositories ----

CLASS_NAMES = {
    "Generator": "Generator",
    "Mapping": "MappingNetwork",
    "Synthesis": "SynthesisNetwork",
    "SynthesisBlock": "SynthesisBlock",
    "SynthesisLayer": "SynthesisLayer",
    "ToRGB": "ToRGBLayer",
    "Dense": "FullyConnectedLayer",
    "EqualizedConv2d": "Conv2dLayer",
    "Discriminator": "Discriminator",
    "DiscriminatorBlock": "DiscriminatorBlock",
    "MinibatchStd": "MinibatchStdLayer",
    "DiscriminatorEpilogue": "DiscriminatorEpilogue",
}
PLAIN = {
    "Generator": "z_dim c_dim w_dim img_resolution img_channels num_ws",
    "MappingNetwork": "z_dim c_dim w_dim num_ws num_layers w_avg_beta",
    "SynthesisNetwork": "w_dim num_ws block_resolutions",
    "SynthesisBlock": "architecture use_fp16",
    "SynthesisLayer": "activation conv_clamp",
    "ToRGBLayer": "conv_clamp",
    "FullyConnectedLayer": "activation bias_gain",
    "Conv2dLayer": "activation up down conv_clamp padding",
    "Discriminator": "c_dim img_resolution img_channels block_resolutions",
    "DiscriminatorBlock": "architecture use_fp16",
    "MinibatchStdLayer": "group_size num_channels",
    "DiscriminatorEpilogue": "",
}
TRAP = "raise RuntimeError('the file was executed')\n"


def persistent(class_name, state):
    """A persistent module object with a source text that must never run."""
    meta = {"type": "class", "version": 6, "module_src": TRAP, "class_name": class_name, "state": state}
    return Call("torch_utils.persistence", "_reconstruct_persistent_obj", meta)


def nvidia_module(module, *, repository="sg3", settings=None, transform=lambda t: t, extra=None):
    """A module of ours as the persistent object that the ada or sg3 repository would have saved."""
    settings = settings or module.settings
    name = CLASS_NAMES[type(module).__name__]
    state = {"training": False}
    for part in ("_parameters", "_buffers"):
        source = getattr(module, part)
        state[part] = collections.OrderedDict()
        for key, tensor in source.items():
            value = None if tensor is None else transform(tensor.detach())
            state[part][key] = (
                torch.nn.Parameter(value, False) if part == "_parameters" and value is not None else value
            )
    state["_non_persistent_buffers_set"] = set()
    state["_backward_hooks"] = collections.OrderedDict()
    state["_modules"] = collections.OrderedDict(
        (key, nvidia_module(child, repository=repository, settings=settings, transform=transform))
        for key, child in module.named_children()
    )
    if name == "DiscriminatorEpilogue" and "mbstd" not in state["_modules"]:
        state["_modules"]["mbstd"] = None
    state.update({key: getattr(module, key) for key in PLAIN[name].split() if hasattr(module, key)})
    _repository_attributes(module, name, state, settings, repository)
    state.update(extra or {})
    return persistent(name, state)


def _repository_attributes(module, name, state, settings, repository):
    """What differs between the repositories, and attributes that our modules keep elsewhere."""
    state["_init_args"], state["_init_kwargs"] = (), {}
    if name in ("FullyConnectedLayer", "Conv2dLayer"):
        state["weight_gain"] = np.float64(module.weight_gain)
    if name == "SynthesisLayer":
        state.update(use_noise=settings.use_noise, act_gain=np.float64(math.sqrt(2)))
    if name == "Generator":
        kwargs = Call("dnnlib.util", "EasyDict", items={"conv_clamp": settings.conv_clamp}, new=True)
        state["_init_kwargs"] = (
            {"synthesis_kwargs": kwargs} if repository == "ada" else {"conv_clamp": settings.conv_clamp}
        )
    if repository == "sg3":
        if name in ("SynthesisLayer", "Conv2dLayer", "ToRGBLayer"):
            state["in_channels"] = module.weight.shape[1]
        if name == "SynthesisBlock":
            state["fused_modconv_default"] = "inference_only"


def nvidia_snapshot(generator, discriminator=None, **options):
    """The dictionary of a network-snapshot pickle; G differs from G_ema."""
    other = {**options, "transform": lambda t: options.get("transform", lambda x: x)(t) * 2}
    return {
        "training_set_kwargs": {"class_name": "training.dataset.ImageFolderDataset", "path": "x.zip", "resolution": 8},
        "G": nvidia_module(generator, **other),
        "D": nvidia_module(discriminator, **options) if discriminator is not None else None,
        "G_ema": nvidia_module(generator, **options),
        "augment_pipe": None,
    }


# ---- NVIDIA TensorFlow ----


def tf_network(name, version, kwargs, variables, components=None):
    """An inert dnnlib.tflib.network.Network: NEWOBJ and BUILD."""
    state = {
        "version": version,
        "name": name,
        "static_kwargs": kwargs,
        "components": components or {},
        "build_module_src": TRAP,
        "build_func_name": f"{name}_main",
        "variables": list(variables.items()),
    }
    return Call("dnnlib.tflib.network", "Network", state=state, new=True)


def _tf_layer(tensors, name, tf_name, out, *, flip=False):
    weight = tensors[f"{name}.weight"].permute(2, 3, 1, 0)
    out[f"{tf_name}/weight"] = (weight.flip(0, 1) if flip else weight).contiguous().numpy()
    if f"{name}.bias" in tensors:
        out[f"{tf_name}/bias"] = tensors[f"{name}.bias"].numpy()
    if f"{name}.affine.weight" in tensors:
        out[f"{tf_name}/mod_weight"] = tensors[f"{name}.affine.weight"].t().contiguous().numpy()
        out[f"{tf_name}/mod_bias"] = (tensors[f"{name}.affine.bias"] - 1).numpy()
    if f"{name}.noise_strength" in tensors:
        out[f"{tf_name}/noise_strength"] = np.float32(tensors[f"{name}.noise_strength"].item())


def _tf_dense(tensors, name, tf_name, out):
    out[f"{tf_name}/weight"] = tensors[f"{name}.weight"].t().contiguous().numpy()
    out[f"{tf_name}/bias"] = tensors[f"{name}.bias"].numpy()


def tf_generator(generator, *, version=4, name="Gs", lods=False, **kwargs):
    """A TensorFlow generator with the weights of ours; lods: image layers named as in configs B to D."""
    t, s = generator.state_dict(), generator.settings
    mapping, synthesis = {}, {}
    for i in range(s.mapping_layers):
        _tf_dense(t, f"mapping.fc{i}", f"Dense{i}", mapping)
    if s.c_dim:
        _tf_dense(t, "mapping.embed", "LabelEmbed", mapping)
    synthesis["4x4/Const/const"] = t["synthesis.b4.const"][None].numpy()
    _tf_layer(t, "synthesis.b4.conv1", "4x4/Conv", synthesis)
    n = 0
    for r in generator.synthesis.block_resolutions:
        if r > 4:
            _tf_layer(t, f"synthesis.b{r}.conv0", f"{r}x{r}/Conv0_up", synthesis, flip=True)
            _tf_layer(t, f"synthesis.b{r}.conv1", f"{r}x{r}/Conv1", synthesis)
        for j in (0, 1):
            if f"synthesis.b{r}.conv{j}.noise_const" in t:
                synthesis[f"noise{n}"] = t[f"synthesis.b{r}.conv{j}.noise_const"][None, None].numpy()
                n += 1
        if f"synthesis.b{r}.skip.weight" in t:
            _tf_layer(t, f"synthesis.b{r}.skip", f"{r}x{r}/Skip", synthesis)
        if f"synthesis.b{r}.torgb.weight" in t:
            _tf_layer(t, f"synthesis.b{r}.torgb", "ToRGB_lod0" if lods else f"{r}x{r}/ToRGB", synthesis)
    if lods:
        synthesis["lod"] = np.float32(0)
        synthesis["ToRGB_lod1/weight"] = np.zeros([1, 1, s.channels[-2], 3], dtype=np.float32)
    parts = {
        "synthesis": tf_network("G_synthesis", version, {}, synthesis),
        "mapping": tf_network("G_mapping", version, {}, mapping),
    }
    return tf_network(name, version, kwargs, {"dlatent_avg": t["mapping.w_avg"].numpy(), "lod": np.float32(0)}, parts)


def tf_discriminator(discriminator, *, version=4, lods=False, **kwargs):
    """A TensorFlow discriminator with the weights of ours."""
    t, s, out = discriminator.state_dict(), discriminator.settings, {}
    for r in discriminator.block_resolutions + [4]:
        if f"b{r}.fromrgb.weight" in t:
            _tf_layer(t, f"b{r}.fromrgb", "FromRGB_lod0" if lods else f"{r}x{r}/FromRGB", out)
        for ours, theirs in (("conv0", "Conv0"), ("conv1", "Conv1_down"), ("skip", "Skip"), ("conv", "Conv")):
            if f"b{r}.{ours}.weight" in t:
                _tf_layer(t, f"b{r}.{ours}", f"{r}x{r}/{theirs}", out)
    _tf_dense(t, "b4.fc", "4x4/Dense0", out)
    _tf_dense(t, "b4.out", "Output", out)
    if s.c_dim:
        _tf_dense(t, "mapping.embed", "LabelEmbed", out)
        for i in range(s.mapping_layers):
            _tf_dense(t, f"mapping.fc{i}", f"Mapping{i}", out)
    return tf_network("D", version, kwargs, out)


# ---- rosinality ----


def rosinality_generator(generator):
    """State dict of a generator of ours in rosinality's names."""
    t, out = generator.state_dict(), collections.OrderedDict()
    for i in range(generator.settings.mapping_layers):
        out[f"style.{i + 1}.weight"], out[f"style.{i + 1}.bias"] = t[f"mapping.fc{i}.weight"], t[f"mapping.fc{i}.bias"]
    out["input.input"] = t["synthesis.b4.const"][None]
    noises, num_convs = [], 0
    for k, r in enumerate(generator.synthesis.block_resolutions):
        for j in (0, 1):
            name = f"synthesis.b{r}.conv{j}"
            if f"{name}.weight" in t:
                theirs = "conv1" if r == 4 else f"convs.{num_convs}"
                num_convs += r > 4
                _rosinality_layer(t, name, theirs, out)
                out[f"{theirs}.noise.weight"] = t[f"{name}.noise_strength"].reshape(1)
                out[f"{theirs}.activate.bias"] = t[f"{name}.bias"]
                noises.append(t[f"{name}.noise_const"][None, None])
                if j == 0:
                    out[f"{theirs}.conv.blur.kernel"] = t[f"{name}.resample_filter"] * 4
        theirs = "to_rgb1" if r == 4 else f"to_rgbs.{k - 1}"
        _rosinality_layer(t, f"synthesis.b{r}.torgb", theirs, out)
        out[f"{theirs}.bias"] = t[f"synthesis.b{r}.torgb.bias"].reshape(1, -1, 1, 1)
        if r > 4:
            out[f"{theirs}.upsample.kernel"] = t[f"synthesis.b{r}.resample_filter"] * 4
    out.update({f"noises.noise_{n}": noise for n, noise in enumerate(noises)})
    return out


def _rosinality_layer(t, name, theirs, out):
    out[f"{theirs}.conv.weight"] = t[f"{name}.weight"][None]
    out[f"{theirs}.conv.modulation.weight"] = t[f"{name}.affine.weight"]
    out[f"{theirs}.conv.modulation.bias"] = t[f"{name}.affine.bias"]


def rosinality_discriminator(discriminator):
    """State dict of a discriminator of ours in rosinality's names."""
    t, out = discriminator.state_dict(), collections.OrderedDict()
    top = discriminator.img_resolution
    out["convs.0.0.weight"], out["convs.0.1.bias"] = t[f"b{top}.fromrgb.weight"], t[f"b{top}.fromrgb.bias"]
    for i, r in enumerate(discriminator.block_resolutions, start=1):
        kernel = t[f"b{r}.resample_filter"]
        for theirs, ours in (
            ("conv1.0.weight", "conv0.weight"),
            ("conv1.1.bias", "conv0.bias"),
            ("conv2.1.weight", "conv1.weight"),
            ("conv2.2.bias", "conv1.bias"),
            ("skip.1.weight", "skip.weight"),
        ):
            out[f"convs.{i}.{theirs}"] = t[f"b{r}.{ours}"]
        out[f"convs.{i}.conv2.0.kernel"] = out[f"convs.{i}.skip.0.kernel"] = kernel
    for theirs, ours in (
        ("final_conv.0.weight", "conv.weight"),
        ("final_conv.1.bias", "conv.bias"),
        ("final_linear.0", "fc"),
        ("final_linear.1", "out"),
    ):
        for part in ("",) if "." in ours else (".weight", ".bias"):
            out[theirs + part] = t[f"b4.{ours}{part}"]
    return out


# ---- for attacks ----


def small_generator():
    """A generator of 8x8 pixels with random weights."""
    from voice2style.generators.stylegan2 import Generator, GeneratorSettings

    torch.manual_seed(5)
    return Generator(
        GeneratorSettings(img_resolution=8, channels=(4, 4), z_dim=4, w_dim=4, mapping_layers=1)
    ).requires_grad_(False)


def nested_stream(tensor):
    """The bytes that torch's own pickling hands to torch.storage._load_from_bytes."""
    return tensor.storage().__reduce__()[1][0]


def rezip(source, dest, *, compressed=False, extra=(), change=lambda name, data: data):
    """Copies an archive entry by entry, with changes."""
    with warnings.catch_warnings(), zipfile.ZipFile(source) as old:
        warnings.simplefilter("ignore")  # of duplicate names, which are wanted here
        with zipfile.ZipFile(dest, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as new:
            for info in old.infolist():
                data = change(info.filename, old.read(info))
                if data is not None:
                    new.writestr(info.filename, data)
            for name, data in extra:
                new.writestr(name, data)
    return dest


def write_safetensors(path, header, data, *, declared=None):
    """A .safetensors file with any header, and any declared length of it."""
    text = header.encode() if isinstance(header, str) else json.dumps(header).encode()
    path.write_bytes((len(text) if declared is None else declared).to_bytes(8, "little") + text + data)
    return path
