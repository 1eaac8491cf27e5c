/** Gaussian splats in PLY files, as points; the twin of `mrd_hf.models.ply_splats`. */

import { clip, round } from "../colors";
import { ShapeError } from "../shapes";
import type { Column, Columns } from "./ply_text";

// The first spherical harmonic, a constant.
const HARMONIC = 0.28209479177387814;
const MIN_OPACITY = 0.1;
const CHUNK_SIZE = 256;

/** Of the vertices that PlayCanvas packs into four bytes each: x, y, z, f_dc_0 to f_dc_2 and opacity. */
export function unpackSplats(elements: Map<string, Columns>): Columns {
    const numbers = (columns: Columns | undefined, name: string) => {
        const found = columns?.get(name);
        if (found && !found.lengths) return found.values;
        throw new ShapeError("its splats are compressed in a way that is not read; save them as a PLY file of splats");
    };
    const [vertices, chunks] = [elements.get("vertex"), elements.get("chunk")];
    const [positions, colors] = [numbers(vertices, "packed_position"), numbers(vertices, "packed_color")];
    const count = positions.length;
    const columns: Columns = new Map();
    const add = (name: string, value: (row: number) => number) => {
        const values = Float64Array.from({ length: count }, (_, row) => value(row));
        columns.set(name, { type: "double", values, lengths: null });
    };
    const within = (name: string) => {
        const [low, high] = [numbers(chunks, `min_${name}`), numbers(chunks, `max_${name}`)];
        if (Math.ceil(count / CHUNK_SIZE) > low.length) throw new ShapeError(`its ${count} splats need more chunks than it has`);
        return (row: number, share: number) => {
            const chunk = Math.floor(row / CHUNK_SIZE);
            return low[chunk] + (high[chunk] - low[chunk]) * share;
        };
    };
    const [x, y, z] = ["x", "y", "z"].map(within);
    add("x", (row) => x(row, (positions[row] >>> 21) / 2047));
    add("y", (row) => y(row, ((positions[row] >>> 11) & 1023) / 1023));
    add("z", (row) => z(row, (positions[row] & 2047) / 2047));
    [..."rgb"].forEach((name, number) => {
        const hasRange = chunks!.has(`min_${name}`) && chunks!.has(`max_${name}`);
        const shown = hasRange ? within(name) : (_: number, share: number) => share;
        add(`f_dc_${number}`, (row) => (shown(row, ((colors[row] >>> (24 - 8 * number)) & 255) / 255) - 0.5) / HARMONIC);
    });
    add("opacity", (row) => -Math.log(255 / (colors[row] & 255) - 1));
    return columns;
}

/** Bytes of the coefficients `f_dc_0` to `f_dc_2`, three a splat. */
export function splatColors(coefficients: Float64Array): Uint8Array {
    return Uint8Array.from(coefficients, (value) => round(clip(0.5 + HARMONIC * (value || 0), 0, 1) * 255));
}

/** Without splats that are too transparent to show; all where none is. */
export function visible(
    xyz: Float64Array,
    rgb: Uint8Array | null,
    opacity: Column | undefined,
): { xyz: Float64Array; rgb: Uint8Array | null } {
    if (!opacity || opacity.lengths) return { xyz, rgb };
    const shown = (i: number) => 1 / (1 + Math.exp(-opacity.values[Math.floor(i / 3)])) >= MIN_OPACITY;
    const kept = xyz.filter((_, i) => shown(i));
    return kept.length ? { xyz: kept, rgb: rgb && rgb.filter((_, i) => shown(i)) } : { xyz, rgb };
}
