/** Coloured points from the surface of a mesh, uniformly by area; the twin of `mrd_hf.models.surface_sampling`. */

import { linearToSrgb, round, clip, srgbToLinear, texelAt } from "./colors";
import type { Generator } from "./random";
import { area, type Mesh, type Part } from "./shapes";

// Below this opacity a texel is a hole.
const MIN_OPACITY = 128;
const MAX_DRAWS = 400;
const MAX_VAIN_DRAWS = 32;
const MAX_AT_ONCE = 2 ** 18;

interface Drawn {
    xyz: Float64Array;
    /** With opacity. */
    rgba: Uint8Array;
}

/** Points that a texture makes transparent are drawn again; a mesh that is transparent all over keeps its last ones. */
export function sampleSurface(mesh: Mesh, count: number, generator: Generator): { xyz: Float64Array; rgb: Uint8Array } {
    const firsts = [0];
    for (const part of mesh.parts) firsts.push(firsts[firsts.length - 1] + part.triangles.length / 9);
    const cumulative = new Float64Array(firsts[firsts.length - 1]);
    let total = 0;
    let face = 0;
    for (const part of mesh.parts) {
        for (let i = 0; i < part.triangles.length; i += 9) cumulative[face++] = total += area(part.triangles, i);
    }
    const xyz: number[] = [];
    const rgb: number[] = [];
    let drawn = 0;
    let kept = 0;
    do {
        const likely = kept ? Math.floor((1.1 * (count - kept) * drawn) / kept) : drawn;
        const size = Math.min(Math.max(count - kept, likely), Math.max(count, MAX_AT_ONCE));
        const some = draw(mesh.parts, firsts, cumulative, size, generator);
        drawn += size;
        const solid = (i: number) => some.rgba[4 * i + 3] >= MIN_OPACITY;
        let keepsAll = false;
        if (!kept && drawn >= MAX_VAIN_DRAWS * count) {
            keepsAll = true;
            for (let i = 0; i < size && keepsAll; i++) keepsAll = !solid(i);
        }
        for (let i = 0; i < size; i++) {
            if (!keepsAll && !solid(i)) continue;
            kept++;
            if (xyz.length < 3 * count) {
                xyz.push(some.xyz[3 * i], some.xyz[3 * i + 1], some.xyz[3 * i + 2]);
                rgb.push(some.rgba[4 * i], some.rgba[4 * i + 1], some.rgba[4 * i + 2]);
            }
        }
    } while (kept < count && drawn < MAX_DRAWS * count);
    const available = Math.max(Math.min(kept, count), 1);
    const take = (values: number[], i: number) => values[3 * (Math.floor(i / 3) % available) + (i % 3)];
    return {
        xyz: Float64Array.from({ length: 3 * count }, (_, i) => take(xyz, i)),
        rgb: Uint8Array.from({ length: 3 * count }, (_, i) => take(rgb, i)),
    };
}

function draw(parts: Part[], firsts: number[], cumulative: Float64Array, count: number, generator: Generator): Drawn {
    const total = cumulative[cumulative.length - 1];
    const places = generator.random(count);
    const folds = generator.random(2 * count);
    const xyz = new Float64Array(3 * count);
    const rgba = new Uint8Array(4 * count).fill(255);
    const weights = [0, 0, 0];
    for (let i = 0; i < count; i++) {
        const face = firstBeyond(cumulative, places[i] * total, cumulative.length - 1);
        const number = firstBeyond(firsts, face, firsts.length) - 1;
        // Of a uniform point in the unit square, the half beyond the diagonal folds back into the triangle.
        let [b, c] = [folds[2 * i], folds[2 * i + 1]];
        if (b + c > 1) [b, c] = [1 - b, 1 - c];
        weights[0] = 1 - (b + c);
        weights[1] = b;
        weights[2] = c;
        const [part, row] = [parts[number], face - firsts[number]];
        for (let axis = 0; axis < 3; axis++) xyz[3 * i + axis] = blend(part.triangles, 9 * row + axis, 3, weights);
        paint(part, row, weights, rgba, 4 * i);
    }
    return { xyz, rgba };
}

/** A corner's values, `step` apart, weighted. */
function blend(values: ArrayLike<number>, at: number, step: number, weights: number[]): number {
    return values[at] * weights[0] + values[at + step] * weights[1] + values[at + 2 * step] * weights[2];
}

function paint(part: Part, row: number, weights: number[], rgba: Uint8Array, at: number): void {
    const { texture, uv, tint, colors } = part;
    let texel = -1;
    if (texture && uv) {
        const [u, v] = [blend(uv, 6 * row, 2, weights), blend(uv, 6 * row + 1, 2, weights)];
        texel = texelAt(u, v, texture.width, texture.height, part.wrap);
        if (!tint) {
            for (let channel = 0; channel < 4; channel++) rgba[at + channel] = texture.data[texel + channel];
            return;
        }
    }
    if (!tint) {
        for (let channel = 0; channel < 3; channel++) {
            rgba[at + channel] =
                colors instanceof Uint8Array ? round(blend(colors, 9 * row + channel, 3, weights)) : colors[channel];
        }
        return;
    }
    for (let channel = 0; channel < 4; channel++) {
        let light = tint.length === 4 ? tint[channel] : blend(tint, 12 * row + channel, 4, weights);
        if (texel >= 0 && texture) {
            const stored = texture.data[texel + channel] / 255;
            light *= channel < 3 ? srgbToLinear(stored) : stored;
        }
        rgba[at + channel] = channel < 3 ? linearToSrgb(light) : round(clip(light, 0, 1) * 255);
    }
}

/** The first place, at most `end`, of a value that is greater. */
function firstBeyond(sorted: ArrayLike<number>, value: number, end: number): number {
    let low = 0;
    let high = end;
    while (low < high) {
        const middle = (low + high) >> 1;
        if (sorted[middle] > value) high = middle;
        else low = middle + 1;
    }
    return low;
}
