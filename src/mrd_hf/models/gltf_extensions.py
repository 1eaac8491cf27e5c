"""Which extensions of glTF are read, which change nothing that counts here, and what is said of the others.

Source: the extension registry of Khronos, https://github.com/KhronosGroup/glTF/tree/main/extensions.
"""

from .gltf_document import MESHOPT, GltfDocument


DRACO = "KHR_draco_mesh_compression"
SPLATS = "KHR_gaussian_splatting"
INSTANCING, VISIBILITY, LOD = "EXT_mesh_gpu_instancing", "KHR_node_visibility", "MSFT_lod"
SPECULAR_GLOSSINESS = "KHR_materials_pbrSpecularGlossiness"
TRANSFORM = "KHR_texture_transform"
BASIS = "KHR_texture_basisu"
# Other encodings of a texture's image that Pillow reads, best first.
IMAGE_EXTENSIONS = ("EXT_texture_webp", "EXT_texture_avif", "EXT_texture_qoi", "MSFT_texture_dds")
READ = {
    DRACO,
    *MESHOPT,
    SPLATS,
    INSTANCING,
    VISIBILITY,
    LOD,
    SPECULAR_GLOSSINESS,
    TRANSFORM,
    BASIS,
    *IMAGE_EXTENSIONS,
    "KHR_accessor_float16",
    "KHR_accessor_float64",
    "KHR_mesh_quantization",
}
# These change the light, the gloss, the motion, the detail from afar or what is known of a shape, not where it is or
# its base colour: the beginnings of their names.
HARMLESS = (
    "ADOBE_",
    "AGI_",
    "BENTLEY_",
    "BLENDER_",
    "CESIUM_primitive_outline",
    "CESIUM_RTC",
    "CESIUM_tile_edges",
    "CVTOOLS_",
    "EXT_3d_metadata",
    "EXT_animation_",
    "EXT_camera_",
    "EXT_feature_metadata",
    "EXT_geopose",
    "EXT_instance_features",
    "EXT_lights_",
    "EXT_manifold",
    "EXT_materials_",
    "EXT_mesh_features",
    "EXT_mesh_lod",
    "EXT_mesh_manifold",
    "EXT_mesh_polygon",
    "EXT_mesh_primitive_",
    "EXT_node_lod",
    "EXT_structural_metadata",
    "EXT_textureInfo_constant_lod",
    "FB_asset_variants",
    "FB_geometry_metadata",
    "FB_material_variants",
    "FB_materials_lightmap",
    "FB_ngon_encoding",
    "GODOT_",
    "GRIFFEL_",
    "INTEL_lights_",
    "KHR_anchor",
    "KHR_animation",
    "KHR_audio",
    "KHR_avatar",
    "KHR_behavior",
    "KHR_character",
    "KHR_collision_shapes",
    "KHR_data_sizes",
    "KHR_display",
    "KHR_environment",
    "KHR_implicit_shapes",
    "KHR_interactivity",
    "KHR_lights",
    "KHR_materials_",
    "KHR_node_hoverability",
    "KHR_node_selectability",
    "KHR_physics",
    "KHR_rigid_bodies",
    "KHR_xmp",
    "KHR_XMP",
    "KITTYCAD_",
    "MAXAR_",
    "MOZ_",
    "MPEG_animation_timing",
    "MPEG_audio_spatial",
    "MPEG_haptic",
    "MPEG_scene",
    "MSFT_audio_emitter",
    "MSFT_packing",
    "NEEDLE_components",
    "NEEDLE_lightmaps",
    "NEEDLE_persistent_assets",
    "NV_materials_mdl",
    "OMI_",
    "OWLF_",
    "PTC_",
    "UNITY_",
    "VRM",
)


def check_extensions(document: GltfDocument) -> list[str]:
    """A warning for each extension that is not read and may change how the shape looks.

    Raises:
        ValueError: The file requires one that is not known.
    """
    for name in document.json.get("extensionsRequired") or []:
        if not _is_known(name):
            raise ValueError(f"it requires the extension {name}, which is not read")
    unknown = [name for name in document.json.get("extensionsUsed") or [] if not _is_known(name)]
    seen = _in_the_scene(document) if unknown else set()
    return [f"the extension {name} is not read" for name in unknown if str(name) in seen]


def _is_known(name: object) -> bool:
    return name in READ or str(name).startswith(HARMLESS)


def _in_the_scene(document: GltfDocument) -> set[str]:
    """The extensions of something that is seen, not only of the file."""
    of_primitives = (primitive for mesh in document.items("meshes") for primitive in (mesh.get("primitives") or []))
    kinds = ("nodes", "meshes", "materials", "textures", "images", "accessors", "bufferViews")
    things = [thing for kind in kinds for thing in document.items(kind)]
    return {name for thing in (*things, *of_primitives) for name in thing.get("extensions") or {}}
