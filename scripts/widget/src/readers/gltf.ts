/** glTF, in a GLB or not, into coloured triangles or, of a file without any, points; the twin of `mrd_hf.models.gltf_reading`. */

import { clip, linearToSrgb, round, srgbToLinear, texelAt } from "../colors";
import { checkCount, ShapeError, type Cloud, type Part, type Shape } from "../shapes";
import type { Companions } from "./companions";
import { GltfDocument, type Accessor } from "./gltf_document";
import { GltfMaterials, tints, type Surface } from "./gltf_materials";
import { placedMeshes, type PlacedMesh } from "./gltf_nodes";
import { FAN, faceCorners, GltfPrimitive, POINTS, STRIP, TRIANGLES } from "./gltf_primitives";

// As of points that are drawn from a surface.
const MIN_OPACITY = 128;
// Of Gaussian splats: the factor of their colours, and the opacity from which one is seen.
const [HARMONIC, MIN_SPLAT_OPACITY] = [0.28209479177387814, 0.1];
const SPLATS = "KHR_gaussian_splatting";
const LINES = [1, 2, 3];

export async function readGltf(data: Uint8Array, files: Companions): Promise<Shape> {
    const document = new GltfDocument(data, files);
    await document.prepare();
    const warnings: string[] = [];
    const reader = new Reader(new GltfMaterials(document, warnings), warnings);
    for (const placed of placedMeshes(document)) {
        const mesh = document.item("meshes", placed.mesh);
        const weights = placed.weights ?? mesh.weights;
        for (const primitive of mesh.primitives ?? []) {
            const mode = primitive.mode ?? TRIANGLES;
            if (LINES.includes(mode)) warnings.push("lines are left out");
            else if (![POINTS, TRIANGLES, STRIP, FAN].includes(mode)) throw new ShapeError(`a primitive has the mode ${mode}`);
            else if (primitive.attributes?.POSITION !== undefined) {
                await reader.add(new GltfPrimitive(document, primitive, Array.isArray(weights) ? weights : []), placed);
            }
        }
    }
    return reader.result();
}

class Reader {
    private readonly parts: Part[] = [];
    private readonly clouds: Cloud[] = [];
    private faces = 0;
    private points = 0;

    constructor(
        private readonly materials: GltfMaterials,
        private readonly warnings: string[],
    ) {}

    async add(primitive: GltfPrimitive, placed: PlacedMesh): Promise<void> {
        const indices = primitive.indices();
        const positions = primitive.attribute("POSITION", [3]);
        const { count } = positions;
        let surface = await this.materials.surface(primitive.json.material);
        const colors = surface.takesVertexColors && primitive.has("COLOR_0") ? primitive.attribute("COLOR_0", [3, 4], true) : null;
        const uvName = `TEXCOORD_${surface.uvSet}`;
        if (surface.texture && !primitive.has(uvName)) {
            this.warnings.push("a texture has no coordinates");
            surface = { ...surface, texture: null };
        }
        const uv = surface.texture ? texturePlaces(primitive.attribute(uvName, [2, 3, 4]), surface) : null;
        const splats = primitive.mode === POINTS ? splatsOf(primitive, count) : null;
        const corners = primitive.mode === POINTS ? indices : faceCorners(primitive.mode, indices);
        for (const xyz of primitive.placed(positions.values, indices, placed)) {
            if (splats) this.addSplats(xyz, indices, splats);
            else if (primitive.mode === POINTS) this.addPoints(xyz, indices, surface, colors, uv);
            else this.addFaces(xyz, corners, surface, colors, uv, placed);
        }
    }

    private addFaces(
        xyz: Float64Array, corners: ArrayLike<number>, surface: Surface, colors: Accessor | null, uv: Float64Array | null, placed: PlacedMesh,
    ): void {
        this.faces += corners.length / 3;
        if (!corners.length) return;
        checkCount(this.faces, "triangles");
        const cornerColors = colors && take(colors.values, corners, colors.width).map((value) => (Number.isNaN(value) ? 1 : value));
        const tint = tints(surface, cornerColors, colors?.width ?? 4);
        const shown = (i: number) => linearToSrgb(tint ? tint[i] : 1);
        const many = tint !== null && tint.length > 4;
        // Of one colour all over and opaque, it says no more than the corners' colours do.
        const needsTint = surface.texture !== null || many || surface.alpha !== "opaque";
        this.parts.push({
            triangles: take(xyz, corners, 3),
            colors: many
                ? Uint8Array.from({ length: 3 * corners.length }, (_, i) => shown(4 * Math.floor(i / 3) + (i % 3)))
                : [shown(0), shown(1), shown(2)],
            texture: surface.texture,
            uv: uv && take(uv, corners, 2),
            tint: needsTint ? tint : null,
            wrap: surface.wrap,
            isColored: surface.texture !== null || colors !== null || surface.isColored,
            name: placed.name,
            groups: placed.groups,
        });
    }

    private addPoints(xyz: Float64Array, indices: ArrayLike<number>, surface: Surface, colors: Accessor | null, uv: Float64Array | null): void {
        const count = indices.length;
        this.count(count);
        const stored = colors && take(colors.values, indices, colors.width).map((value) => (Number.isNaN(value) ? 1 : value));
        const tint = tints(surface, stored, colors?.width ?? 4) ?? [1, 1, 1, 1];
        const { texture, wrap } = surface;
        const places = texture && uv && take(uv, indices, 2);
        const rgb = new Uint8Array(3 * count);
        const shown: number[] = [];
        for (let i = 0; i < count; i++) {
            const texel = texture && places ? texelAt(places[2 * i], places[2 * i + 1], texture.width, texture.height, wrap) : 0;
            const light = (channel: number) => tint[(tint.length > 4 ? 4 * i : 0) + channel];
            const share = (channel: number) => (texture ? texture.data[texel + channel] / 255 : 1);
            for (let c = 0; c < 3; c++) rgb[3 * i + c] = linearToSrgb(light(c) * (texture ? srgbToLinear(share(c)) : 1));
            if (round(clip(light(3) * share(3), 0, 1) * 255) >= MIN_OPACITY) shown.push(i);
        }
        const kept = shown.length ? shown : range(count);
        // Exporters give clouds without colours a white material.
        const isMaterial = surface.isColored && surface.factor.slice(0, 3).some((value) => value !== 1);
        const isColored = texture !== null || colors !== null || isMaterial;
        const points = take(take(xyz, indices, 3), kept, 3);
        this.clouds.push({
            kind: "cloud", xyz: points, rgb: isColored ? Uint8Array.from(take(rgb, kept, 3)) : null, warnings: [], upAxis: "y",
        });
    }

    private addSplats(xyz: Float64Array, indices: ArrayLike<number>, { rgb, isSeen }: Splats): void {
        this.count(indices.length);
        const seen = Array.from(indices).filter((index) => isSeen[index]);
        const kept = seen.length ? seen : indices;
        const colors = Uint8Array.from(take(rgb, kept, 3));
        this.clouds.push({ kind: "cloud", xyz: take(xyz, kept, 3), rgb: colors, warnings: [], upAxis: "y" });
    }

    private count(points: number): void {
        this.points += points;
        checkCount(this.points, "points");
    }

    result(): Shape {
        const warnings = [...new Set(this.warnings)];
        if (this.parts.length || !this.clouds.length) return { kind: "mesh", parts: this.parts, warnings, upAxis: "y" };
        const colored = this.clouds.some((cloud) => cloud.rgb);
        return {
            kind: "cloud",
            xyz: Float64Array.from(this.clouds.flatMap((cloud) => Array.from(cloud.xyz))),
            rgb: colored
                ? Uint8Array.from(this.clouds.flatMap((cloud) => Array.from(cloud.rgb ?? cloud.xyz.map(() => 255))))
                : null,
            warnings,
            upAxis: "y",
        };
    }
}

interface Splats {
    rgb: Uint8Array;
    isSeen: boolean[];
}

/** Colours and opacity of Gaussian splats; null where points are no splats. */
function splatsOf(primitive: GltfPrimitive, count: number): Splats | null {
    const [harmonics, opacity] = [`${SPLATS}:SH_DEGREE_0_COEF_0`, `${SPLATS}:OPACITY`];
    if (!primitive.has(harmonics)) return null;
    const isLinear = String(primitive.json.extensions?.[SPLATS]?.colorSpace ?? "").includes("lin");
    const rgb = Uint8Array.from(primitive.attribute(harmonics, [3]).values, (value) => {
        const light = clip(0.5 + HARMONIC * value, 0, 1);
        return isLinear ? linearToSrgb(light) : round(light * 255);
    });
    const opacities = primitive.has(opacity) ? primitive.attribute(opacity, [1]).values : null;
    return { rgb, isSeen: Array.from({ length: count }, (_, i) => !opacities || opacities[i] >= MIN_SPLAT_OPACITY) };
}

/** From glTF's upper left to our lower left. */
function texturePlaces(uv: Accessor, surface: Surface): Float64Array {
    const found = new Float64Array(2 * uv.count);
    const [a, b, c, d, e, f] = surface.place;
    for (let i = 0; i < uv.count; i++) {
        const [u, v] = [0, 1].map((k) => (Number.isFinite(uv.values[i * uv.width + k]) ? uv.values[i * uv.width + k] : 0));
        found[2 * i] = a * u + b * v + c;
        found[2 * i + 1] = 1 - (d * u + e * v + f);
    }
    return found;
}

function take(values: ArrayLike<number>, rows: ArrayLike<number>, width: number): Float64Array {
    const found = new Float64Array(rows.length * width);
    for (let i = 0; i < rows.length; i++) for (let k = 0; k < width; k++) found[i * width + k] = values[rows[i] * width + k];
    return found;
}

function range(count: number): Float64Array {
    return Float64Array.from({ length: count }, (_, i) => i);
}
