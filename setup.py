"""Installs voice2style: the packages of the rooms, the console command, the demo model."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "voice2style" / "__init__.py").read_text(encoding="utf-8"))[1]

setup(
    name="voice2style",
    version=VERSION,
    description="StyleGAN2-conditioned voice-to-face generation: you hear a voice, it draws a face that fits it",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["dnnlib*", "torch_utils*", "voice2style*", "training*", "metrics*"]),
    package_data={"voice2style.demo": ["*.safetensors", "*.wav"], "metrics.judges": ["*.safetensors"],
                  "torch_utils.ops": ["*.h", "*.cpp", "*.cu", "cpu/*"]},
    install_requires=[
        "torch>=2.11", "ninja", "numpy", "scipy", "librosa", "pillow", "click", "clean-fid", "lpips",
        "safetensors", "soundfile", "soxr", "tqdm", "matplotlib",
    ],
    extras_require={
        "vad": ["silero-vad"],                      # voice activity for noisy field recordings
        "av": ["av"],                               # m4a, mp4 and other containers
        "onnx": ["onnx", "onnxruntime", "onnxscript"],
        "video": ["imageio-ffmpeg"],                # mp4 from gen_video.py and projector.py; also decodes m4a
        "web": ["flask"],
        "face": ["opencv-python-headless<5"],       # 5.0 dropped the cascades that work offline
        "tensorboard": ["tensorboard"],
        "wandb": ["wandb"],
        "openvino": ["openvino"],                   # generate.py --backend openvino
        "dev": ["pytest", "pytest-xdist", "hypothesis", "ruff", "scikit-image", "scikit-learn"],
    },
    entry_points={"console_scripts": ["voice2style=voice2style.command_line:generate"]},
)
