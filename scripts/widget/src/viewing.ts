/** A shape as it is drawn: with y up, about the middle of its points, and not larger than a page can turn. */

import type { ShapeView, ViewPart, ViewTexture } from "./protocol";
import type { ColoredPoints, Part, Shape, Texture, UpAxis } from "./shapes";

const MAX_DRAWN_FACES = 300_000;
// Parts of one texture are drawn together, and those without any.
const MAX_DRAWN_PARTS = 1000;
// Of the textures, which the page's own thread hands to the graphics card.
const MAX_DRAWN_TEXELS = 2 ** 25;

/** @param values The encoder's input: the points that it sees. */
export function shapeView(shape: Shape, points: ColoredPoints, values: Float32Array, up: UpAxis, encoderUp: UpAxis): ShapeView {
    const seen = values.slice();
    if (encoderUp === "z") turn(seen, 6);
    if (shape.kind === "cloud") return { points: seen, parts: [], textures: [] };
    const faces = shape.parts.reduce((sum, part) => sum + part.triangles.length / 9, 0);
    const none = { points: seen, parts: [], textures: [] };
    if (faces > MAX_DRAWN_FACES) return none;
    const parts = joined(shape.parts);
    const textures = [...new Set(parts.map((part) => part.texture))].filter((texture) => texture !== null);
    const texels = textures.reduce((sum, { width, height }) => sum + width * height, 0);
    if (parts.length > MAX_DRAWN_PARTS || texels > MAX_DRAWN_TEXELS) return none;
    const count = points.xyz.length / 3;
    const middle = [0, 0, 0];
    for (let i = 0; i < points.xyz.length; i++) middle[i % 3] += points.xyz[i] / count;
    let radius = 0;
    for (let i = 0; i < points.xyz.length; i += 3) {
        radius = Math.max(radius, Math.hypot(...[0, 1, 2].map((axis) => points.xyz[i + axis] - middle[axis])));
    }
    return {
        points: seen,
        parts: parts.map((part) => viewPart(part, textures, middle, radius || 1, up)),
        textures: textures.map(viewTexture),
    };
}

/** Those of one texture, repeated in one way, as one, and those without any. */
function joined(parts: Part[]): Part[] {
    const alike = new Map<Texture | null, Map<string, Part[]>>();
    for (const part of parts) {
        const texture = part.uv ? part.texture : null;
        const byWrap = alike.get(texture) ?? new Map<string, Part[]>();
        alike.set(texture, byWrap);
        const key = texture ? part.wrap.join() : "";
        const group = byWrap.get(key) ?? [];
        group.push(part);
        byWrap.set(key, group);
    }
    return [...alike].flatMap(([texture, byWrap]) => [...byWrap.values()].map((group) => together(group, texture)));
}

function together(parts: Part[], texture: Texture | null): Part {
    if (parts.length === 1) return parts[0];
    const count = parts.reduce((sum, part) => sum + part.triangles.length, 0);
    const [triangles, colors] = [new Float64Array(count), new Uint8Array(count)];
    const uv = texture && new Float64Array((count * 2) / 3);
    let at = 0;
    for (const part of parts) {
        const { length } = part.triangles;
        triangles.set(part.triangles, at);
        uv?.set(part.uv!, (at * 2) / 3);
        for (let i = 0; i < length; i++) colors[at + i] = part.colors instanceof Uint8Array ? part.colors[i] : part.colors[i % 3];
        at += length;
    }
    return { ...parts[0], triangles, colors, texture, uv };
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
