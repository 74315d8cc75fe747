"""Video: clips ``(C, T, H, W)`` in [-1, 1] at a frame rate; latents are whitened pixels.

Files go through FFmpeg (PyAV): any container and codec it knows, animations and pictures too.
"""
