/** A shape as it is drawn: with y up, about the middle of its points, and not larger than a page can turn. */

import type { ShapeView, ViewPart, ViewTexture } from "./protocol";
import type { ColoredPoints, Part, Shape, Texture, UpAxis } from "./shapes";

const MAX_DRAWN_FACES = 300_000;
// Each is drawn by itself; those without a texture are drawn together.
const MAX_TEXTURED_PARTS = 1000;

/** @param values The encoder's input: the points that it sees. */
export function shapeView(shape: Shape, points: ColoredPoints, values: Float32Array, up: UpAxis, encoderUp: UpAxis): ShapeView {
    const seen = values.slice();
    if (encoderUp === "z") turn(seen, 6);
    if (shape.kind === "cloud") return { points: seen, parts: [], textures: [] };
    const faces = shape.parts.reduce((sum, part) => sum + part.triangles.length / 9, 0);
    const textured = shape.parts.filter((part) => part.texture);
    if (faces > MAX_DRAWN_FACES || textured.length > MAX_TEXTURED_PARTS) return { points: seen, parts: [], textures: [] };
    const count = points.xyz.length / 3;
    const middle = [0, 0, 0];
    for (let i = 0; i < points.xyz.length; i++) middle[i % 3] += points.xyz[i] / count;
    let radius = 0;
    for (let i = 0; i < points.xyz.length; i += 3) {
        radius = Math.max(radius, Math.hypot(...[0, 1, 2].map((axis) => points.xyz[i + axis] - middle[axis])));
    }
    const textures = [...new Set(shape.parts.map((part) => part.texture))].filter((texture) => texture !== null);
    const plain = joined(shape.parts.filter((part) => !part.texture));
    return {
        points: seen,
        parts: [...plain, ...textured].map((part) => viewPart(part, textures, middle, radius || 1, up)),
        textures: textures.map(viewTexture),
    };
}

/** Parts without a texture as one, or none. */
function joined(parts: Part[]): Part[] {
    if (parts.length < 2) return parts;
    const count = parts.reduce((sum, part) => sum + part.triangles.length, 0);
    const [triangles, colors] = [new Float64Array(count), new Uint8Array(count)];
    let at = 0;
    for (const part of parts) {
        triangles.set(part.triangles, at);
        const { length } = part.triangles;
        for (let i = 0; i < length; i++) colors[at + i] = part.colors instanceof Uint8Array ? part.colors[i] : part.colors[i % 3];
        at += length;
    }
    return [{ ...parts[0], triangles, colors }];
}

function viewTexture({ width, height, data }: Texture): ViewTexture {
    return { width, height, data: Uint8Array.from(data) };
}

function viewPart(part: Part, textures: Texture[], middle: number[], radius: number, up: UpAxis): ViewPart {
    const positions = Float32Array.from(part.triangles, (value, i) => (value - middle[i % 3]) / radius);
    if (up === "z") turn(positions, 3);
    const { colors, texture } = part;
    return {
        positions,
        colors: colors instanceof Uint8Array ? colors.slice() : Uint8Array.from(positions, (_, i) => colors[i % 3]),
        uv: texture && part.uv ? Float32Array.from(part.uv) : null,
        texture: texture && textures.indexOf(texture),
        wrap: part.wrap,
    };
}

/** z up to y up, rows of `step` numbers. */
function turn(values: Float32Array, step: number): void {
    for (let i = 0; i < values.length; i += step) [values[i + 1], values[i + 2]] = [values[i + 2], -values[i + 1]];
}

export function buffersOf(view: ShapeView): ArrayBuffer[] {
    const parts = view.parts.flatMap((part) => [part.positions, part.colors, part.uv]);
    const arrays = [view.points, ...parts, ...view.textures.map((texture) => texture.data)];
    return [...new Set(arrays.filter((array) => array).map((array) => array!.buffer as ArrayBuffer))];
}
