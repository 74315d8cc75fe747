"""Point clouds: ``(C, N)``, x y z and then, if asked for, 3 of the normal, 3 of the colour in [-1, 1], other features.

Meshes go through trimesh and become points when they are read; clouds (ply, pcd, xyz, npz) are read here.
"""
