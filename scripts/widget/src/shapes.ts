/** What a shape is once it has been read, and what of it cannot be used; the twin of `mrd_hf.models.shapes`. */

export type Wrap = "repeat" | "mirror" | "clamp";
export type UpAxis = "y" | "z";

/** sRGB and opacity, top row first. */
export interface Texture {
    width: number;
    height: number;
    data: Uint8Array | Uint8ClampedArray;
}

/** Triangles that are coloured in one way. */
export interface Part {
    /** Corners of each triangle, nine numbers. */
    triangles: Float64Array;
    /** sRGB of each corner, nine bytes a triangle, or one for all. */
    colors: Uint8Array | [number, number, number];
    texture: Texture | null;
    /** Texture coordinates of each corner, six numbers a triangle, (0, 0) the lower left. */
    uv: Float64Array | null;
    /** Linear RGB and opacity, twelve numbers a triangle or four for all; multiplies the texture, or is the colour. */
    tint: Float32Array | null;
    wrap: [Wrap, Wrap];
    isColored: boolean;
    /** Its material's, in OBJ. */
    name?: string;
    /** Of the nodes above it, its own and its mesh's, or of its object or group; those by which it may be left out. */
    groups?: string[];
}

export interface Mesh {
    kind: "mesh";
    parts: Part[];
    warnings: string[];
    upAxis: UpAxis | null;
}

/** Points as they are stored; colours are bytes, or floats in 0..1. */
export interface Cloud {
    kind: "cloud";
    xyz: Float64Array;
    rgb: Uint8Array | Float32Array | null;
    warnings: string[];
    upAxis: UpAxis | null;
}

export type Shape = Mesh | Cloud;

/** Points to embed: positions in any unit, colours in 0..1 as float32 has them. */
export interface ColoredPoints {
    xyz: Float64Array;
    rgb: Float32Array | null;
}

/** What is wrong with a file, said so that a visitor can do something about it. */
export class ShapeError extends Error {}

/** As viewers show what has no colour beside others that have one. */
export const DEFAULT_COLOR: [number, number, number] = [200, 200, 200];
/** A tab has less memory than a program: Python reads ten million faces, and fifty million points. */
export const MAX_FACES = 2_000_000;
export const MAX_POINTS = 2_000_000;
export const MAX_FILE_BYTES = 2 ** 29;
// How far colours may be beyond 0..1.
const COLOR_ROUNDING = 0.01;
const FLOAT32_MAX = 3.4028234663852886e38;

export function checkCount(count: number, what: "triangles" | "points"): void {
    const most = what === "points" ? MAX_POINTS : MAX_FACES;
    if (count > most) {
        throw new ShapeError(
            `it has ${count.toLocaleString("en")} ${what}; this page reads at most ${most.toLocaleString("en")}. ` +
                "Simplify it, or use the Python package, which reads more",
        );
    }
}

/** @param whose What the message of an error begins with. */
export function checkFileSize(bytes: number, whose = ""): void {
    if (bytes <= MAX_FILE_BYTES) return;
    throw new ShapeError(`${whose}it has ${Math.round(bytes / 2 ** 20)} MiB; at most ${MAX_FILE_BYTES / 2 ** 20} are read`);
}

/** Twice the area of a triangle that begins at `at`, halved. */
export function area(triangles: Float64Array, at: number): number {
    const bx = triangles[at + 3] - triangles[at];
    const by = triangles[at + 4] - triangles[at + 1];
    const bz = triangles[at + 5] - triangles[at + 2];
    const cx = triangles[at + 6] - triangles[at];
    const cy = triangles[at + 7] - triangles[at + 1];
    const cz = triangles[at + 8] - triangles[at + 2];
    return Math.sqrt((by * cz - bz * cy) ** 2 + (bz * cx - bx * cz) ** 2 + (bx * cy - by * cx) ** 2) / 2;
}

/** The shape, without faces that are not finite, if it has a surface or points; else a `ShapeError`. */
export function checked(shape: Shape): Shape {
    if (shape.kind === "cloud") {
        if (shape.xyz.length === 0) throw new ShapeError("it has no faces and no points");
        const count = shape.xyz.length / 3;
        const kept: number[] = [];
        for (let i = 0; i < count; i++) {
            let finite = true;
            for (let axis = 0; axis < 3; axis++) finite &&= Math.abs(shape.xyz[3 * i + axis]) <= FLOAT32_MAX;
            if (finite) kept.push(i);
        }
        if (!kept.length) throw new ShapeError(`none of its ${count} points is finite (all are nan or infinite)`);
        if (kept.length < count) {
            // As scanners write where they see nothing.
            shape.warnings.push(`${count - kept.length} of ${count} points left out: they are not finite`);
            shape.xyz = pick(shape.xyz, kept, 3);
            shape.rgb &&= pick(shape.rgb, kept, 3);
        }
        if (shape.rgb instanceof Float32Array) {
            if (!shape.rgb.every((value) => value > -COLOR_ROUNDING && value < 1 + COLOR_ROUNDING)) {
                throw new ShapeError("its colours are neither bytes nor numbers in 0..1 (are they normals?)");
            }
            shape.rgb = shape.rgb.map((value) => Math.min(Math.max(value, 0), 1));
        }
        return shape;
    }
    let total = 0;
    let dropped = 0;
    let faces = 0;
    for (const part of shape.parts) {
        const count = part.triangles.length / 9;
        faces += count;
        const kept: number[] = [];
        for (let face = 0; face < count; face++) {
            let finite = true;
            for (let i = 9 * face; i < 9 * face + 9; i++) finite &&= Number.isFinite(part.triangles[i]);
            if (finite) kept.push(face);
        }
        if (kept.length < count) {
            dropped += count - kept.length;
            keepFaces(part, kept);
        }
        for (let i = 0; i < part.triangles.length; i += 9) total += area(part.triangles, i);
    }
    if (faces === 0) throw new ShapeError("it has no faces and no points");
    if (dropped) shape.warnings.push(`${dropped} of ${faces} faces left out: their vertices are not finite`);
    if (!(total > 0 && total < Infinity)) {
        throw new ShapeError(
            dropped ? "its vertices are not finite (nan or infinite)" : `the area of its ${faces} faces is ${total}`,
        );
    }
    return shape;
}

/** Leaves out the other faces of a part. */
export function keepFaces(part: Part, kept: number[]): void {
    part.triangles = pick(part.triangles, kept, 9);
    if (part.colors instanceof Uint8Array) part.colors = pick(part.colors, kept, 9);
    if (part.uv) part.uv = pick(part.uv, kept, 6);
    if (part.tint && part.tint.length > 4) part.tint = pick(part.tint, kept, 12);
}

/** Rows of `size` values. */
function pick<Values extends Float64Array | Float32Array | Uint8Array>(values: Values, rows: number[], size: number): Values {
    const picked = new (values.constructor as new (length: number) => Values)(rows.length * size);
    rows.forEach((row, i) => picked.set(values.subarray(row * size, row * size + size), i * size));
    return picked;
}
