/** numpy arrays of points, (num_points, 3), or (num_points, 6) with their colours. Nothing is unpickled. */

import { checkCount, ShapeError, type Cloud } from "../shapes";

type Getter = (view: DataView, at: number, little: boolean) => number;
const TYPES: Record<string, [number, Getter]> = {
    f2: [2, (view, at, little) => half(view.getUint16(at, little))],
    f4: [4, (view, at, little) => view.getFloat32(at, little)],
    f8: [8, (view, at, little) => view.getFloat64(at, little)],
    i1: [1, (view, at) => view.getInt8(at)],
    i2: [2, (view, at, little) => view.getInt16(at, little)],
    i4: [4, (view, at, little) => view.getInt32(at, little)],
    i8: [8, (view, at, little) => Number(view.getBigInt64(at, little))],
    u1: [1, (view, at) => view.getUint8(at)],
    u2: [2, (view, at, little) => view.getUint16(at, little)],
    u4: [4, (view, at, little) => view.getUint32(at, little)],
    u8: [8, (view, at, little) => Number(view.getBigUint64(at, little))],
};

export function readNpy(data: Uint8Array): Cloud {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    if (data.length < 12 || view.getUint8(0) !== 0x93 || new TextDecoder().decode(data.subarray(1, 6)) !== "NUMPY") {
        throw new ShapeError("it is no array of numpy's");
    }
    const wide = data[6] >= 2;
    const start = (wide ? 12 : 10) + (wide ? view.getUint32(8, true) : view.getUint16(8, true));
    const header = new TextDecoder("latin1").decode(data.subarray(wide ? 12 : 10, start));
    const type = /'descr'\s*:\s*'([<>|=])([a-zA-Z]\d+)'/.exec(header);
    const shape = /'shape'\s*:\s*\(([\d\s,L]*)\)/.exec(header);
    if (!type || !shape || !(type[2] in TYPES)) {
        throw new ShapeError("its array holds no plain numbers; save points as (n, 3), or (n, 6) with colours");
    }
    const sizes = shape[1].split(",").map((word) => parseInt(word, 10)).filter((size) => !Number.isNaN(size));
    const [count, width] = sizes;
    if (sizes.length !== 2 || (width !== 3 && width !== 6)) {
        throw new ShapeError(`its array has shape (${sizes.join(", ")}); expected (n, 3), or (n, 6) with colours`);
    }
    checkCount(count, "points");
    const [size, read] = TYPES[type[2]];
    if (start + count * width * size > data.length) {
        throw new ShapeError(`it announces ${count.toLocaleString("en")} points, more than it has`);
    }
    const byColumn = /'fortran_order'\s*:\s*True/.test(header);
    const little = type[1] !== ">";
    const value = (row: number, column: number) =>
        read(view, start + size * (byColumn ? column * count + row : row * width + column), little);
    const xyz = new Float64Array(3 * count);
    const stored = new Float64Array(width === 6 ? 3 * count : 0);
    for (let row = 0; row < count; row++) {
        for (let axis = 0; axis < 3; axis++) xyz[3 * row + axis] = value(row, axis);
        if (width === 6) for (let axis = 0; axis < 3; axis++) stored[3 * row + axis] = value(row, 3 + axis);
    }
    const rgb = width === 6 ? colors(stored, type[2][0] !== "f") : null;
    return { kind: "cloud", xyz, rgb, warnings: [], upAxis: null };
}

/** Integers are bytes, and so are floats that are whole numbers, some beyond 1. */
function colors(stored: Float64Array, isInteger: boolean): Uint8Array | Float32Array {
    let [whole, low, high] = [true, 0, 0];
    for (const value of stored) {
        whole &&= Number.isInteger(value);
        low = Math.min(low, value);
        high = Math.max(high, value);
    }
    if (isInteger && (low < 0 || high > 255)) {
        throw new ShapeError(`its colours are from ${low} to ${high}; expected bytes, or floats in 0..1`);
    }
    const areBytes = isInteger || (whole && low >= 0 && high > 1 && high <= 255);
    return areBytes ? Uint8Array.from(stored) : Float32Array.from(stored);
}

/** The number of two bytes. */
export function half(bits: number): number {
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    const sign = bits >> 15 ? -1 : 1;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}
