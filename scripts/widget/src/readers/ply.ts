/** PLY into coloured triangles or, of a file without any face, points: scans and Gaussian splats. */

import { clip, round, storedColorsAsBytes } from "../colors";
import { checkCount, DEFAULT_COLOR, ShapeError, type Shape } from "../shapes";
import { triangulate } from "./polygons";

interface Property {
    name: string;
    type: string;
    /** Of the length, where it is a list. */
    countType: string | null;
}
interface Element {
    name: string;
    count: number;
    properties: Property[];
}
/** Of one property: a number a row; of a list, all of its numbers, and the length of each row's. */
interface Column {
    type: string;
    values: number[] | Float64Array;
    lengths: number[] | null;
}
type Columns = Map<string, Column>;

const SYNONYMS: Record<string, string> = {
    int8: "char", uint8: "uchar", int16: "short", uint16: "ushort", int32: "int", uint32: "uint",
    float32: "float", float64: "double",
};
const SIZES: Record<string, number> = { char: 1, uchar: 1, short: 2, ushort: 2, int: 4, uint: 4, float: 4, double: 8 };
const INDEX_NAMES = ["vertex_indices", "vertex_index", "vertex_indexes", "vertex_list", "vertices", "indices"];
const COLOR_NAMES = [
    ["red", "green", "blue"],
    ["r", "g", "b"],
    ["diffuse_red", "diffuse_green", "diffuse_blue"],
];
const HARMONIC = 0.28209479177387814;
const MIN_OPACITY = 0.1;
const MAX_HEADER = 2 ** 20;

export function readPly(data: Uint8Array): Shape {
    const { elements, format, start } = header(data);
    for (const { name, count } of elements) if (name === "vertex") checkCount(count, "points");
    for (const { name, count } of elements) if (name === "face") checkCount(count, "triangles");
    const source = format === "ascii" ? words(data.subarray(start)) : numbers(data, start, format.includes("little"));
    const columns = new Map(elements.map((element) => [element.name, rows(element, source, data.length)]));
    const vertices: Columns = columns.get("vertex") ?? new Map();
    const faces: Columns = columns.get("face") ?? new Map();
    const axes = ["x", "y", "z"].map((axis) => vertices.get(axis));
    if (axes.some((axis) => !axis || axis.lengths)) throw new ShapeError("its element 'vertex' has no x, y and z");
    const warnings: string[] = [];
    const count = axes[0]!.values.length;
    const xyz = Float64Array.from({ length: 3 * count }, (_, i) => axes[i % 3]!.values[Math.floor(i / 3)]);
    const colors = readColors(vertices);
    const listed = (of: Columns) => INDEX_NAMES.map((name) => of.get(name)).find((found) => found?.lengths);
    const own = listed(faces);
    const strips = listed(columns.get("tristrips") ?? new Map());
    const indices = own?.values.length ? own : strips && fromStrips(strips);
    if (!indices?.values.length) {
        const opacity = vertices.has("f_dc_0") ? vertices.get("opacity") : undefined;
        return { kind: "cloud", ...visible(xyz, colors, opacity?.values), warnings, upAxis: null };
    }
    for (const index of indices.values) {
        if (!(index >= 0 && index < count)) throw new ShapeError(`a face names a vertex that does not exist (${index})`);
    }
    checkCount(indices.lengths!.length, "triangles");
    const { corners, owners } = triangulate(xyz, indices.values, indices.lengths!);
    checkCount(owners.length, "triangles");
    const here = corners.map((corner) => indices.values[corner]);
    const faceColors = colors ? null : readColors(faces);
    const pick = (i: number) => (colors ? colors[3 * here[Math.floor(i / 3)] + (i % 3)] : faceColors![3 * owners[Math.floor(i / 9)] + (i % 3)]);
    if ([...vertices.keys(), ...faces.keys()].some((name) => /^(texcoord|texture_u|s|u)$/.test(name))) {
        warnings.push("textures of PLY files are not read here; the Python package reads them");
    }
    return {
        kind: "mesh",
        parts: [
            {
                triangles: Float64Array.from({ length: 9 * owners.length }, (_, i) => xyz[3 * here[Math.floor(i / 3)] + (i % 3)]),
                colors: colors || faceColors ? Uint8Array.from({ length: 9 * owners.length }, (_, i) => pick(i)) : DEFAULT_COLOR,
                texture: null,
                uv: null,
                tint: null,
                wrap: ["repeat", "repeat"],
                isColored: colors !== null || faceColors !== null,
            },
        ],
        warnings,
        upAxis: null,
    };
}

/** Triangles of strips that end with -1 or with their list. */
function fromStrips(strips: Column): Column {
    const values: number[] = [];
    let start = 0;
    for (const length of strips.lengths!) {
        let first = start;
        let run = 0;
        for (let i = start; i < start + length; i++) {
            if (strips.values[i] < 0) [first, run] = [i, 0];
            else run++;
            if (run < 3) continue;
            const odd = (i - 2 - first) % 2;
            values.push(strips.values[i - 2], strips.values[i - 1 + odd], strips.values[i - odd]);
        }
        start += length;
    }
    return { type: "int", values, lengths: Array.from({ length: values.length / 3 }, () => 3) };
}

function header(data: Uint8Array): { elements: Element[]; format: string; start: number } {
    const text = new TextDecoder("latin1").decode(data.subarray(0, MAX_HEADER));
    const end = /end_header[^\n\r]*(\r\n|\n|\r)/.exec(text);
    if (!text.startsWith("ply") || !end) throw new ShapeError("its header is damaged or has no end");
    const elements: Element[] = [];
    let format = "";
    for (const line of text.slice(0, end.index).split(/\r\n|\n|\r/)) {
        const [keyword, ...rest] = line.trim().split(/\s+/);
        if (keyword === "format") format = rest[0];
        else if (keyword === "element") elements.push({ name: rest[0], count: Number(rest[1]), properties: [] });
        else if (keyword === "property") {
            const isList = rest[0] === "list";
            const [type, name] = rest.slice(isList ? 2 : 0).map((word) => SYNONYMS[word] ?? word);
            const countType = isList ? (SYNONYMS[rest[1]] ?? rest[1]) : null;
            if (!(type in SIZES) || (countType && !(countType in SIZES)) || !name || !elements.length) {
                throw new ShapeError(`its header has a line that is not understood: ${line.slice(0, 80)}`);
            }
            elements[elements.length - 1].properties.push({ name, type, countType });
        }
    }
    if (!["ascii", "binary_little_endian", "binary_big_endian"].includes(format)) {
        throw new ShapeError(`its format is '${format.slice(0, 40)}'; expected ascii or binary`);
    }
    if (elements.some(({ count }) => !Number.isInteger(count) || count < 0)) {
        throw new ShapeError("its header has a count that is no number");
    }
    return { elements, format, start: end.index + end[0].length };
}

type Source = (type: string) => number;

function words(data: Uint8Array): Source {
    const all = new TextDecoder("latin1").decode(data).split(/\s+/);
    let place = all[0] === "" ? 1 : 0;
    return () => {
        if (place >= all.length || all[place] === "") throw new ShapeError("it ends before its last row");
        return Number(all[place++]);
    };
}

function numbers(data: Uint8Array, start: number, little: boolean): Source {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    let place = start;
    return (type) => {
        const at = place;
        place += SIZES[type];
        if (place > data.length) throw new ShapeError("it ends before its last row");
        switch (type) {
            case "char": return view.getInt8(at);
            case "uchar": return view.getUint8(at);
            case "short": return view.getInt16(at, little);
            case "ushort": return view.getUint16(at, little);
            case "int": return view.getInt32(at, little);
            case "uint": return view.getUint32(at, little);
            case "float": return view.getFloat32(at, little);
            default: return view.getFloat64(at, little);
        }
    };
}

function rows(element: Element, next: Source, size: number): Columns {
    if (element.count * element.properties.length > size) throw new ShapeError("it announces more rows than it has");
    const columns = element.properties.map(({ type, countType }): Column => ({
        type,
        values: countType ? [] : new Float64Array(element.count),
        lengths: countType ? [] : null,
    }));
    for (let row = 0; row < element.count; row++) {
        element.properties.forEach(({ type, countType }, i) => {
            const column = columns[i];
            if (!countType) {
                column.values[row] = next(type);
                return;
            }
            const length = next(countType);
            if (!(length >= 0)) throw new ShapeError("a list has a length below zero");
            column.lengths!.push(length);
            for (let k = 0; k < length; k++) (column.values as number[]).push(next(type));
        });
    }
    return new Map(element.properties.map(({ name }, i) => [name, columns[i]]));
}

function readColors(columns: Columns): Uint8Array | null {
    for (const names of [...COLOR_NAMES, ["f_dc_0", "f_dc_1", "f_dc_2"]]) {
        const found = names.map((name) => columns.get(name));
        if (found.some((column) => !column || column.lengths)) continue;
        const [{ type }, length] = [found[0]!, found[0]!.values.length];
        const values = Float64Array.from({ length: 3 * length }, (_, i) => found[i % 3]!.values[Math.floor(i / 3)]);
        if (names[0] === "f_dc_0") {
            return Uint8Array.from(values, (value) => round(clip(0.5 + HARMONIC * (value || 0), 0, 1) * 255));
        }
        if (type === "char") return Uint8Array.from(values, (value) => value & 255);
        const kind = type === "float" || type === "double" ? "float" : type.endsWith("short") ? "short" : "byte";
        return storedColorsAsBytes(values, kind);
    }
    return null;
}

/** Without splats that are too transparent to show; all where none is. */
function visible(
    xyz: Float64Array,
    rgb: Uint8Array | null,
    opacity: ArrayLike<number> | undefined,
): { xyz: Float64Array; rgb: Uint8Array | null } {
    if (!opacity) return { xyz, rgb };
    const shown = (i: number) => 1 / (1 + Math.exp(-opacity[Math.floor(i / 3)])) >= MIN_OPACITY;
    const kept = xyz.filter((_, i) => shown(i));
    return kept.length ? { xyz: kept, rgb: rgb && rgb.filter((_, i) => shown(i)) } : { xyz, rgb };
}
