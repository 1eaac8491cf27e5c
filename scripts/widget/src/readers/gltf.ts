/** GLB into coloured triangles or, of a file without any, points; the twin of `mrd_hf.models.gltf_reading`. */

import { clip, linearToSrgb, round, srgbToLinear, texelAt } from "../colors";
import { checkCount, ShapeError, type Cloud, type Part, type Shape } from "../shapes";
import type { Companions } from "./companions";
import { GltfDocument, type Accessor, type Json, type UnpackedPrimitive } from "./gltf_document";
import { GltfMaterials, tints, type Surface } from "./gltf_materials";

type Matrix = number[]; // 4 x 4, by columns
const IDENTITY: Matrix = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
const POINTS = 0;
const TRIANGLES = 4;
const STRIP = 5;
const FAN = 6;
// As of points that are drawn from a surface.
const MIN_OPACITY = 128;
const MAX_DEPTH = 1000;
const MAX_NODES = 50_000;

export async function readGlb(data: Uint8Array, files: Companions): Promise<Shape> {
    const document = new GltfDocument(data, files);
    await document.prepare();
    const warnings: string[] = [];
    const reader = new Reader(document, new GltfMaterials(document, warnings), warnings);
    for (const { mesh, world, node } of placed(document)) {
        if (node.skin !== undefined) warnings.push("skins are left out: the shape is in the pose that it was modelled in");
        for (const primitive of document.item("meshes", mesh).primitives ?? []) {
            for (const here of instances(document, node)) await reader.add(primitive, multiplied(world, here));
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
        private readonly document: GltfDocument,
        private readonly materials: GltfMaterials,
        private readonly warnings: string[],
    ) {}

    async add(primitive: Json, world: Matrix): Promise<void> {
        const names: Json = primitive.attributes ?? {};
        let mode: number = primitive.mode ?? TRIANGLES;
        if (names.POSITION === undefined) return;
        if (![POINTS, TRIANGLES, STRIP, FAN].includes(mode)) {
            this.warnings.push("lines are left out");
            return;
        }
        if (primitive.extensions?.KHR_gaussian_splatting) {
            throw new ShapeError("it has Gaussian splats in glTF, which this page does not read; the Python package does");
        }
        if (primitive.targets) this.warnings.push("morph targets are left out");
        const packed = this.document.unpacked(primitive);
        // Draco stores triangles, also where they once were a strip.
        if (packed && mode !== POINTS) mode = TRIANGLES;
        const positions = this.attribute("POSITION", names, packed);
        if (positions.width !== 3) throw new ShapeError("its positions are damaged");
        const xyz = moved(positions.values, world);
        const indices = this.indices(primitive, mode, positions.count, packed);
        for (const index of indices) {
            if (!(index < positions.count)) throw new ShapeError(`a face names a vertex that does not exist (${index})`);
        }
        let surface = await this.materials.surface(primitive.material);
        const of = (name: string, normalizes: boolean) => {
            const found = this.attribute(name, names, packed, normalizes);
            if (found.count === positions.count) return found;
            throw new ShapeError("an attribute has another number of elements than its positions");
        };
        const colors = names.COLOR_0 !== undefined && surface.takesVertexColors ? of("COLOR_0", true) : null;
        const uvName = `TEXCOORD_${surface.uvSet}`;
        if (surface.texture && names[uvName] === undefined) {
            this.warnings.push("a texture has no coordinates");
            surface = { ...surface, texture: null };
        }
        const uv = surface.texture ? texturePlaces(of(uvName, false), surface) : null;
        if (mode === POINTS) this.addPoints(xyz, indices, surface, colors, uv);
        else this.addFaces(xyz, faceCorners(mode, indices), surface, colors, uv);
    }

    private attribute(name: string, names: Json, packed: UnpackedPrimitive | null, normalizes = false): Accessor {
        const unpacked = packed?.attributes.get(name);
        if (!unpacked) return this.document.accessor(names[name], normalizes);
        return this.document.asMeant(unpacked, names[name], normalizes, unpacked.isInteger);
    }

    private indices(primitive: Json, mode: number, count: number, packed: UnpackedPrimitive | null): Float64Array {
        if (packed && mode !== POINTS) return packed.indices ?? new Float64Array();
        if (packed || primitive.indices === undefined) return range(count);
        return this.document.stored(primitive.indices).values;
    }

    private addFaces(xyz: Float64Array, corners: ArrayLike<number>, surface: Surface, colors: Accessor | null, uv: Float64Array | null): void {
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
        });
    }

    private addPoints(xyz: Float64Array, indices: ArrayLike<number>, surface: Surface, colors: Accessor | null, uv: Float64Array | null): void {
        const count = indices.length;
        this.points += count;
        checkCount(this.points, "points");
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

function* placed(document: GltfDocument): Generator<{ mesh: number; world: Matrix; node: Json }> {
    const nodes: Json[] = document.json.nodes ?? [];
    if (!nodes.length) {
        for (let mesh = 0; mesh < (document.json.meshes ?? []).length; mesh++) yield { mesh, world: IDENTITY, node: {} };
        return;
    }
    const scenes: Json[] = document.json.scenes ?? [];
    // The same once more, in less detail, is no root either.
    const below = new Set(nodes.flatMap((node) => [...(node.children ?? []), ...(node.extensions?.MSFT_lod?.ids ?? [])]));
    const roots: number[] = scenes.length
        ? (document.item("scenes", document.json.scene ?? 0).nodes ?? [])
        : nodes.map((_, i) => i).filter((i) => !below.has(i));
    const waiting = roots.map((root) => ({ index: root, parent: IDENTITY, depth: 0 })).reverse();
    for (let visited = 0; waiting.length; visited++) {
        const { index, parent, depth } = waiting.pop()!;
        if (depth > MAX_DEPTH || visited > MAX_NODES) throw new ShapeError("its nodes are too many, or nested in a circle");
        const node = document.item("nodes", index);
        const world = multiplied(parent, localMatrix(node));
        if (node.extensions?.KHR_node_visibility?.visible === false) continue;
        if (node.mesh !== undefined) yield { mesh: node.mesh, world, node };
        for (const child of [...(node.children ?? [])].reverse()) waiting.push({ index: child, parent: world, depth: depth + 1 });
    }
}

/** Where EXT_mesh_gpu_instancing puts a node's mesh; as it is without it. */
function instances(document: GltfDocument, node: Json): Matrix[] {
    const names: Json | undefined = node.extensions?.EXT_mesh_gpu_instancing?.attributes;
    const read = (name: string) => (names?.[name] === undefined ? null : document.accessor(names[name]));
    const [translation, rotation, scale] = [read("TRANSLATION"), read("ROTATION"), read("SCALE")];
    const some = translation ?? rotation ?? scale;
    if (!some) return [IDENTITY];
    if ([translation, rotation, scale].some((other) => other && other.count !== some.count)) {
        throw new ShapeError("the places, turns and sizes of a mesh that is placed many times differ in number");
    }
    if (some.count > MAX_NODES) throw new ShapeError(`it places a mesh ${some.count.toLocaleString("en")} times`);
    const row = (from: Accessor | null, i: number, otherwise: number[]) =>
        from ? otherwise.map((_, k) => from.values[i * from.width + k]) : otherwise;
    return Array.from({ length: some.count }, (_, i) =>
        composed(row(translation, i, [0, 0, 0]), row(rotation, i, [0, 0, 0, 1]), row(scale, i, [1, 1, 1])),
    );
}

function localMatrix(node: Json): Matrix {
    if (node.matrix) return node.matrix;
    return composed(node.translation ?? [0, 0, 0], node.rotation ?? [0, 0, 0, 1], node.scale ?? [1, 1, 1]);
}

/** Scales, then rotates by a quaternion (x, y, z, w), then translates. */
function composed([tx, ty, tz]: number[], rotation: number[], [sx, sy, sz]: number[]): Matrix {
    const [x, y, z, w] = unit(rotation);
    return [
        sx * (1 - 2 * (y * y + z * z)), sx * 2 * (x * y + z * w), sx * 2 * (x * z - y * w), 0,
        sy * 2 * (x * y - z * w), sy * (1 - 2 * (x * x + z * z)), sy * 2 * (y * z + x * w), 0,
        sz * 2 * (x * z + y * w), sz * 2 * (y * z - x * w), sz * (1 - 2 * (x * x + y * y)), 0,
        tx, ty, tz, 1,
    ];
}

function unit(rotation: number[]): number[] {
    const length = Math.hypot(...rotation);
    return length > 0 ? rotation.map((value) => value / length) : [0, 0, 0, 1];
}

function multiplied(a: Matrix, b: Matrix): Matrix {
    return a.map((_, i) => [0, 1, 2, 3].reduce((sum, k) => sum + a[4 * k + (i % 4)] * b[4 * Math.floor(i / 4) + k], 0));
}

function moved(positions: Float64Array, m: Matrix): Float64Array {
    const found = new Float64Array(positions.length);
    for (let i = 0; i < positions.length; i += 3) {
        const [x, y, z] = [positions[i], positions[i + 1], positions[i + 2]];
        for (let axis = 0; axis < 3; axis++) found[i + axis] = m[axis] * x + m[4 + axis] * y + m[8 + axis] * z + m[12 + axis];
    }
    return found;
}

/** From glTF's upper left to our lower left. */
function texturePlaces(uv: Accessor, surface: Surface): Float64Array {
    const found = new Float64Array(2 * uv.count);
    const [a, b, c, d, e, f] = surface.place;
    for (let i = 0; i < uv.count; i++) {
        const [u, v] = [uv.values[i * uv.width] || 0, uv.values[i * uv.width + 1] || 0];
        found[2 * i] = a * u + b * v + c;
        found[2 * i + 1] = 1 - (d * u + e * v + f);
    }
    return found;
}

function faceCorners(mode: number, indices: ArrayLike<number>): ArrayLike<number> {
    const count = indices.length;
    if (mode === TRIANGLES) return Array.prototype.slice.call(indices, 0, count - (count % 3));
    const corners: number[] = [];
    for (let i = 0; i + 2 < count; i++) {
        const odd = mode === STRIP ? i % 2 : 0;
        corners.push(indices[mode === FAN ? 0 : i], indices[i + 1 + odd], indices[i + 2 - odd]);
    }
    return corners;
}

function take(values: ArrayLike<number>, rows: ArrayLike<number>, width: number): Float64Array {
    const found = new Float64Array(rows.length * width);
    for (let i = 0; i < rows.length; i++) for (let k = 0; k < width; k++) found[i * width + k] = values[rows[i] * width + k];
    return found;
}

function range(count: number): Float64Array {
    return Float64Array.from({ length: count }, (_, i) => i);
}
