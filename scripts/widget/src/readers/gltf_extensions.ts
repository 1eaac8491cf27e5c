/** Which extensions a glTF file may require; the twin of `mrd_hf.models.gltf_extensions`. */

import { ShapeError } from "../shapes";

const READ = [
    "KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression",
    "KHR_gaussian_splatting", "EXT_mesh_gpu_instancing", "KHR_node_visibility", "MSFT_lod", "KHR_texture_transform",
    "KHR_texture_basisu", "EXT_texture_webp", "EXT_texture_avif", "EXT_texture_qoi", "MSFT_texture_dds",
    "KHR_accessor_float16", "KHR_accessor_float64", "KHR_mesh_quantization",
];
// The beginnings of the names of those that change neither where a shape is nor its base colour.
const HARMLESS = [
    "ADOBE_", "AGI_", "BENTLEY_", "BLENDER_", "CESIUM_primitive_outline", "CESIUM_RTC", "CESIUM_tile_edges",
    "CVTOOLS_", "EXT_3d_metadata", "EXT_animation_", "EXT_camera_", "EXT_feature_metadata", "EXT_geopose",
    "EXT_instance_features", "EXT_lights_", "EXT_manifold", "EXT_materials_", "EXT_mesh_features", "EXT_mesh_lod",
    "EXT_mesh_manifold", "EXT_mesh_polygon", "EXT_mesh_primitive_", "EXT_node_lod", "EXT_structural_metadata",
    "EXT_textureInfo_constant_lod", "FB_asset_variants", "FB_geometry_metadata", "FB_material_variants",
    "FB_materials_lightmap", "FB_ngon_encoding", "GODOT_", "GRIFFEL_", "INTEL_lights_", "KHR_anchor", "KHR_animation",
    "KHR_audio", "KHR_avatar", "KHR_behavior", "KHR_character", "KHR_collision_shapes", "KHR_data_sizes",
    "KHR_display", "KHR_environment", "KHR_implicit_shapes", "KHR_interactivity", "KHR_lights", "KHR_materials_",
    "KHR_node_hoverability", "KHR_node_selectability", "KHR_physics", "KHR_rigid_bodies", "KHR_xmp", "KHR_XMP",
    "KITTYCAD_", "MAXAR_", "MOZ_", "MPEG_animation_timing", "MPEG_audio_spatial", "MPEG_haptic", "MPEG_scene",
    "MSFT_audio_emitter", "MSFT_packing", "NEEDLE_components", "NEEDLE_lightmaps", "NEEDLE_persistent_assets",
    "NV_materials_mdl", "OMI_", "OWLF_", "PTC_", "UNITY_", "VRM",
];

/** Refuses a file that cannot be read without one that is not read here. */
export function checkExtensions(required: string[]): void {
    for (const name of required) {
        if (READ.includes(name) || HARMLESS.some((start) => name.startsWith(start))) continue;
        throw new ShapeError(`it requires the extension ${name}, which is not read`);
    }
}
