"""Sound: waveforms ``(1, L)`` in [-1, 1], log-mel latents ``(n_mels, T)``.

torchaudio serves for transforms only; files go through libsndfile and FFmpeg (PyAV).
"""

try:
    import torchaudio  # noqa: F401
except (ImportError, OSError) as error:
    from importlib.metadata import PackageNotFoundError, version

    def _found(package: str) -> str:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return f"no {package}"

    raise ImportError(
        f"torchaudio does not load ({error}); found {_found('torch')} and {_found('torchaudio')}. torchaudio 2.11 is "
        'linked against the CUDA 13.0 builds of torch: pip install "torch>=2.11,<2.15" torchaudio from PyPI, which '
        "also run on a machine without a GPU."
    ) from error
