/** Between sRGB and linear light, and where a texture's texels are; the twin of `mrd_hf.models.shape_colors`. */

import { ShapeError, type Wrap } from "./shapes";

/** As numpy rounds: to the even one of two that are equally near. */
export function round(value: number): number {
    const below = Math.floor(value);
    const rest = value - below;
    return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}

export function clip(value: number, low: number, high: number): number {
    return Math.min(Math.max(value, low), high);
}

export function srgbToLinear(srgb: number): number {
    return srgb <= 0.04045 ? srgb / 12.92 : ((srgb + 0.055) / 1.055) ** 2.4;
}

/** As a byte. */
export function linearToSrgb(linear: number): number {
    const srgb = linear <= 0.0031308 ? linear * 12.92 : 1.055 * Math.max(linear, 0) ** (1 / 2.4) - 0.055;
    return round(clip(srgb, 0, 1) * 255);
}

/** Remainder with the sign of the divisor, as numpy's. */
function modulo(value: number, by: number): number {
    const rest = value % by;
    return rest < 0 ? rest + by : rest;
}

// How far from a whole number a texture coordinate may be and count as it: the mean of equal corners is not exact.
const WHOLE = 1e-6;

function within(place: number, wrap: Wrap): number {
    if (!Number.isFinite(place)) return 0;
    if (wrap === "clamp") return clip(place, 0, 1);
    if (wrap === "mirror") return 1 - Math.abs(modulo(place, 2) - 1);
    // Both edges are the picture's own: faces of one colour often lie wholly on 0 or on 1.
    const whole = Math.round(place);
    return Math.abs(place - whole) < WHOLE ? Number(whole === 1) : modulo(place, 1);
}

/** Where the RGBA of a texture coordinate begins. */
export function texelAt(u: number, v: number, width: number, height: number, wrap: [Wrap, Wrap]): number {
    const column = Math.min(Math.floor(within(u, wrap[0]) * width), width - 1);
    const row = Math.min(Math.floor((1 - within(v, wrap[1])) * height), height - 1);
    return 4 * (row * width + column);
}

/**
 * Colours of a file that declares their type, as bytes: the type says the range. Two bytes of which none is beyond 255
 * hold bytes, and so do floats that are whole numbers beyond 1. Floats of four bytes are multiplied as such, as numpy does.
 */
export function storedColorsAsBytes(values: ArrayLike<number>, kind: "byte" | "short" | "float" | "double"): Uint8Array {
    let low = 0;
    let high = 0;
    let whole = true;
    let finite = true;
    for (let i = 0; i < values.length; i++) {
        low = Math.min(low, values[i]);
        high = Math.max(high, values[i]);
        whole &&= Number.isInteger(values[i]);
        finite &&= Number.isFinite(values[i]);
    }
    let limit = 255;
    if (kind === "short" && high > 255) limit = 65535;
    if ((kind === "float" || kind === "double") && ((low >= -0.01 && high <= 1.01) || !whole)) limit = 1;
    const most = limit === 1 ? 1.01 : limit;
    if (!finite || low < (limit === 1 ? -0.01 : 0) || high > most) {
        throw new ShapeError(`its colours are from ${low} to ${high}; expected 0..1, or 0..255 as bytes`);
    }
    const product = kind === "float" ? Math.fround : Number;
    return Uint8Array.from(values, (value) => round(product(clip(value, 0, limit) * (255 / limit))));
}
