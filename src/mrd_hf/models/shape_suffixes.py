"""The suffixes of the files that are read, of which every list of them is made."""

# These hold nothing but points.
CLOUD_SUFFIXES = (".las", ".laz", ".npy", ".npz", ".pcd", ".xyz")
# These may say that z points up. The other meshes' formats say y, or nothing.
_Z_UP_MESHES = (".3mf", ".dae", ".usd", ".usda", ".usdc", ".usdz")
# These may hold a mesh or, without any face, a point cloud; a .zip file holds one of any kind.
MESH_SUFFIXES = tuple(sorted((".glb", ".gltf", ".obj", ".off", ".ply", ".stl", ".zip", *_Z_UP_MESHES)))
SHAPE_SUFFIXES = MESH_SUFFIXES + CLOUD_SUFFIXES
MAY_BE_Z_UP = (*_Z_UP_MESHES, ".zip")
