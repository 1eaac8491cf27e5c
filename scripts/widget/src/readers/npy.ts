/**
 * numpy arrays of points, (num_points, 3), or (num_points, 6) with their colours, or with fields x, y, z, red and so on.
 * Nothing is unpickled.
 */

import { checkCount, ShapeError, type Cloud } from "../shapes";
import { COLOR_NAMES, ofTypes } from "./ply";

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
// Those that say in which range colours are.
const PLY_TYPES: Record<string, string> = { i1: "char", u1: "uchar", u2: "ushort", f2: "float", f4: "float", f8: "double" };
const MAX_NAMED = 8;

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
    const fields = parsedFields(header);
    if (!shape || (!fields && !(type && type[2] in TYPES))) {
        throw new ShapeError("its array holds no plain numbers; save points as (n, 3), or (n, 6) with colours");
    }
    const sizes = sizesOf(shape[1]);
    if (fields) return ofFields(fields, sizes, view, start);
    return ofColumns(type!, sizes, /'fortran_order'\s*:\s*True/.test(header), view, start);
}

function ofColumns([, order, name]: string[], sizes: number[], byColumn: boolean, view: DataView, start: number): Cloud {
    const [count, width] = sizes;
    if (sizes.length !== 2 || (width !== 3 && width !== 6)) {
        throw new ShapeError(`its array has shape (${sizes.join(", ")}); expected (n, 3), or (n, 6) with colours`);
    }
    checkCount(count, "points");
    const [size, read] = TYPES[name];
    checkEnd(start + count * width * size, count, view);
    const little = order !== ">";
    const value = (row: number, column: number) =>
        read(view, start + size * (byColumn ? column * count + row : row * width + column), little);
    const xyz = new Float64Array(3 * count);
    const stored = new Float64Array(width === 6 ? 3 * count : 0);
    for (let row = 0; row < count; row++) {
        for (let axis = 0; axis < 3; axis++) xyz[3 * row + axis] = value(row, axis);
        if (width === 6) for (let axis = 0; axis < 3; axis++) stored[3 * row + axis] = value(row, 3 + axis);
    }
    const rgb = width === 6 ? colors(stored, name[0] !== "f") : null;
    return { kind: "cloud", xyz, rgb, warnings: [], upAxis: null };
}

interface Field {
    name: string;
    order: string;
    type: string;
    at: number;
    /** How many values it has. */
    count: number;
}

/** Of a structured array, in the order of its bytes, and how many those of a row are; null of another. */
function parsedFields(header: string): { fields: Field[]; stride: number } | null {
    const list = /'descr'\s*:\s*\[(.*?)\]\s*,\s*'fortran_order'/s.exec(header)?.[1];
    if (list === undefined) return null;
    const each = /\(\s*'([^'\\]*)'\s*,\s*'([<>|=])([a-zA-Z])(\d+)(?:\[[^\]]*\])?'\s*(?:,\s*\(([\d\s,L]*)\)\s*)?\)\s*(?:,|$)\s*/y;
    const fields: Field[] = [];
    let stride = 0;
    while (each.lastIndex < list.length) {
        const found = each.exec(list);
        // Fields within fields.
        if (!found) return null;
        const [, name, order, kind, bytes, shape] = found;
        const count = sizesOf(shape ?? "").reduce((product, size) => product * size, 1);
        fields.push({ name: name.toLowerCase(), order, type: kind + bytes, at: stride, count });
        stride += count * Number(bytes) * (kind === "U" ? 4 : 1);
    }
    return { fields, stride };
}

function ofFields({ fields, stride }: { fields: Field[]; stride: number }, sizes: number[], view: DataView, start: number): Cloud {
    // Padding has no name; of two that differ in capital letters the last counts.
    const named = new Map(fields.filter(({ name }) => name).map((field) => [field.name, field]));
    const all = (names: string[]) => names.every((name) => named.has(name));
    if (sizes.length !== 1 || !all(["x", "y", "z"])) {
        throw new ShapeError(`its array has the fields ${[...named.keys()].join(", ").slice(0, 80)}; expected x, y and z`);
    }
    const [count] = sizes;
    checkCount(count, "points");
    checkEnd(start + count * stride, count, view);
    const names = COLOR_NAMES.slice(0, 2).find(all) ?? [];
    const used = (from: string[]) => {
        const columns = from.map((name) => named.get(name)!);
        if (columns.some((field) => !(field.type in TYPES) || field.count !== 1)) throw new ShapeError("its fields are no numbers");
        return Float64Array.from({ length: columns.length * count }, (_, i) => {
            const { at, order, type } = columns[i % columns.length];
            return TYPES[type][1](view, start + stride * Math.floor(i / columns.length) + at, order !== ">");
        });
    };
    const xyz = used(["x", "y", "z"]);
    const rgb = names.length ? ofTypes(used(names), names.map((name) => PLY_TYPES[named.get(name)!.type] ?? "int")) : null;
    const rest = [...named.keys()].filter((name) => !["x", "y", "z", ...names].includes(name) && !name.startsWith("n"));
    const warnings = rest.length ? [`fields left out: ${rest.slice(0, MAX_NAMED).join(", ")}`] : [];
    return { kind: "cloud", xyz, rgb, warnings, upAxis: null };
}

function sizesOf(text: string): number[] {
    return text.split(",").map((word) => parseInt(word, 10)).filter((size) => !Number.isNaN(size));
}

function checkEnd(end: number, count: number, view: DataView): void {
    if (end > view.byteLength) throw new ShapeError(`it announces ${count.toLocaleString("en")} points, more than it has`);
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
