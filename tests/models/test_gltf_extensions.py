"""Extensions of glTF: which are read, which change nothing that counts, which are said, and which are refused."""

import pytest
from support.gltf_seen import bounds, read
from support.gltf_writer import Gltf


READ = [
    "EXT_mesh_gpu_instancing",
    "EXT_meshopt_compression",
    "EXT_texture_avif",
    "EXT_texture_webp",
    "KHR_draco_mesh_compression",
    "KHR_gaussian_splatting",
    "KHR_materials_pbrSpecularGlossiness",
    "KHR_mesh_quantization",
    "KHR_meshopt_compression",
    "KHR_node_visibility",
    "KHR_texture_basisu",
    "KHR_texture_transform",
    "MSFT_lod",
    "MSFT_texture_dds",
]
HARMLESS = [
    "ADOBE_materials_thin_transparency",
    "AGI_articulations",
    "BENTLEY_materials_point_style",
    "CESIUM_primitive_outline",
    "EXT_instance_features",
    "EXT_lights_image_based",
    "EXT_mesh_features",
    "EXT_mesh_manifold",
    "EXT_mesh_primitive_restart",
    "EXT_structural_metadata",
    "FB_geometry_metadata",
    "FB_ngon_encoding",
    "GODOT_single_root",
    "KHR_animation_pointer",
    "KHR_audio_emitter",
    "KHR_character",
    "KHR_implicit_shapes",
    "KHR_interactivity",
    "KHR_lights_punctual",
    "KHR_materials_anisotropy",
    "KHR_materials_clearcoat",
    "KHR_materials_diffuse_transmission",
    "KHR_materials_dispersion",
    "KHR_materials_emissive_strength",
    "KHR_materials_ior",
    "KHR_materials_iridescence",
    "KHR_materials_sheen",
    "KHR_materials_specular",
    "KHR_materials_transmission",
    "KHR_materials_unlit",
    "KHR_materials_variants",
    "KHR_materials_volume",
    "KHR_node_hoverability",
    "KHR_node_selectability",
    "KHR_physics_rigid_bodies",
    "KHR_xmp_json_ld",
    "MAXAR_mesh_variants",
    "MOZ_hubs_components",
    "MSFT_packing_occlusionRoughnessMetallic",
    "NEEDLE_components",
    "OMI_physics_body",
    "UNITY_metadata",
    "VRM",
    "VRMC_vrm",
    "VRMC_materials_mtoon",
]
OF_THE_LOOK = [
    "EXT_primitive_voxels",
    "EXT_texture_procedurals_mx_1_39",
    "FB_materials_modmap",
    "FRAUNHOFER_external_model",
    "KHR_blend",
    "KHR_techniques_webgl",
    "MPEG_mesh_linking",
    "MPEG_texture_video",
    "NEEDLE_progressive",
    "NEEDLE_techniques_webgl",
    "SOME_new_thing",
]


def using(name: str, required: bool, place: str) -> Gltf:
    """The square with an extension of a part of it that says nothing."""
    file = Gltf()
    file.show_mesh(file.square(material=file.material({})))
    mesh = file.json["meshes"][0]
    thing = {
        "node": file.json["nodes"][0],
        "mesh": mesh,
        "primitive": mesh["primitives"][0],
        "material": file.json["materials"][0],
        "accessor": file.json["accessors"][1],
        "file": file.json,
    }[place]
    thing.setdefault("extensions", {})[name] = {}
    file.json["extensionsUsed"] = [name, name]
    if required:
        file.json["extensionsRequired"] = [name]
    return file


@pytest.mark.parametrize("name", [*READ, *HARMLESS])
def test_a_known_extension_may_be_required_and_nothing_is_said(name):
    assert read(using(name, True, "file")).warnings == []


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_extension_changes_nothing(name):
    file = using(name, True, "primitive")
    assert bounds(file) == [[0, 0, 0], [1, 1, 0]] and read(file).warnings == []


@pytest.mark.parametrize("name", OF_THE_LOOK)
def test_an_unknown_extension_is_said_once_if_something_seen_uses_it_and_refused_if_required(name):
    for place in ("node", "mesh", "primitive", "material", "accessor"):
        assert read(using(name, False, place)).warnings == [f"the extension {name} is not read"], place
    assert read(using(name, False, "file")).warnings == []
    with pytest.raises(ValueError, match=f"it requires the extension {name}, which is not read"):
        read(using(name, True, "node"))


def test_the_shape_lists_the_extensions_that_the_file_uses():
    file = using("KHR_materials_unlit", False, "material")
    file.json["extensionsUsed"] = ["KHR_materials_unlit", "KHR_lights_punctual"]
    assert read(file).extensions == ["KHR_lights_punctual", "KHR_materials_unlit"]
