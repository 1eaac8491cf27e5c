/** The elements of a PLY file as columns, ASCII or binary, with lists of any length; the twin of `ply_text`. */

import { checkCount, ShapeError } from "../shapes";
import { parseNumber, withPlainNan } from "./number_text";

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
export interface Column {
    type: string;
    values: number[] | Float64Array;
    lengths: number[] | null;
}
/** By the names of properties, lower case. */
export type Columns = Map<string, Column>;
export interface PlyText {
    elements: Map<string, Columns>;
    comments: string[];
    warnings: string[];
}

/** Colours as the four bytes of one number, which may be a float. */
export const PACKED_NAMES = ["rgb", "rgba"];
const SYNONYMS: Record<string, string> = {
    int8: "char", uint8: "uchar", int16: "short", uint16: "ushort", int32: "int", uint32: "uint",
    float32: "float", float64: "double", longlong: "int64", ulonglong: "uint64",
};
export const SIZES: Record<string, number> = {
    char: 1, uchar: 1, short: 2, ushort: 2, int: 4, uint: 4, float: 4, double: 8, int64: 8, uint64: 8,
};
const MAX_HEADER = 2 ** 20;

export function parsePly(data: Uint8Array): PlyText {
    const { elements, format, comments, start } = header(data);
    for (const { name, count } of elements) if (name === "vertex") checkCount(count, "points");
    for (const { name, count } of elements) if (name === "face") checkCount(count, "triangles");
    const words = format === "ascii" ? new Words(new TextDecoder("latin1").decode(data.subarray(start))) : null;
    const next = words ? (type: string) => words.next(type) : numbers(data, start, format.includes("little"));
    const columns = new Map<string, Columns>();
    for (const element of elements) columns.set(element.name, rows(element, next, data.length, words !== null));
    const count = elements.reduce((sum, element) => sum + element.count, 0);
    return { elements: columns, comments, warnings: words ? words.rest(count) : [] };
}

function header(data: Uint8Array): { elements: Element[]; format: string; comments: string[]; start: number } {
    const text = new TextDecoder("latin1").decode(data.subarray(0, MAX_HEADER));
    let place = data[0] === 0xef && data[1] === 0xbb && data[2] === 0xbf ? 3 : 0;
    const ending = /^[^\r\n]*(\r\n?|\n)/.exec(text.slice(place, place + 1000))?.[1] === "\r" ? "\r" : "\n";
    const elements: Element[] = [];
    const comments: string[] = [];
    let format = "";
    for (let isFirst = true; ; isFirst = false) {
        const end = text.indexOf(ending, place);
        if (end < 0) throw new ShapeError("its header is damaged or has no end");
        const line = text.slice(place, end).trim();
        // Of one byte a letter until here, so that places are those of the bytes.
        const comment = () => new TextDecoder().decode(data.subarray(place, end)).trim().slice(keyword.length).trim();
        const [keyword, ...rest] = line.split(/\s+/);
        if (isFirst) {
            if (line.toLowerCase() !== "ply") throw new ShapeError("it does not begin with 'ply'");
        } else if (keyword === "end_header") {
            place = end + 1;
            break;
        } else if (keyword === "comment" || keyword === "obj_info") {
            comments.push(comment());
        } else if (keyword === "format" && rest.length) {
            format = rest[0].toLowerCase();
        } else if (keyword === "element" && rest.length === 2 && /^\d+$/.test(rest[1])) {
            elements.push({ name: rest[0].toLowerCase(), count: Number(rest[1]), properties: [] });
        } else if (keyword === "property" && elements.length) {
            elements[elements.length - 1].properties.push(property(rest, line, format));
        } else if (keyword) {
            throw notUnderstood(line);
        }
        place = end + 1;
    }
    if (!["ascii", "binary_little_endian", "binary_big_endian"].includes(format)) {
        throw new ShapeError(`its format is '${format.slice(0, 40)}'; expected ascii or binary`);
    }
    return { elements, format, comments, start: place };
}

function notUnderstood(line: string): ShapeError {
    return new ShapeError(`its header has a line that is not understood: ${line.slice(0, 80)}`);
}

function property(rest: string[], line: string, format: string): Property {
    const typeOf = (word: string | undefined) => {
        const type = SYNONYMS[(word ?? "").toLowerCase()] ?? (word ?? "").toLowerCase();
        if (!Object.hasOwn(SIZES, type)) throw notUnderstood(line);
        return type;
    };
    const isList = rest[0] === "list";
    const countType = isList ? typeOf(rest[1]) : null;
    let type = typeOf(rest[isList ? 2 : 0]);
    const name = rest.slice(isList ? 3 : 1).join(" ").toLowerCase(); // CloudCompare's have spaces
    if (!name) throw notUnderstood(line);
    // A float of such bits may be nan, and then JavaScript does not keep them.
    if (format !== "ascii" && type === "float" && PACKED_NAMES.includes(name)) type = "uint";
    return { name, type, countType };
}

/** The numbers of an ASCII file. */
class Words {
    private readonly all: string[];
    private place = 0;

    constructor(private readonly text: string) {
        this.all = withPlainNan(text).split(/\s+/).filter(Boolean);
    }

    /** The next one, which must fit its type. */
    next(type: string): number {
        if (this.place >= this.all.length) throw new ShapeError("it ends before its last row");
        const value = parseNumber(this.all[this.place++], "its rows");
        if (type === "double") return value;
        if (type === "float") return Math.fround(value);
        const bits = 8 * SIZES[type];
        const isUnsigned = type.startsWith("u");
        // Many write bytes as char.
        const high = 2 ** (isUnsigned || type === "char" ? bits : bits - 1) - 1;
        if (!(Number.isInteger(value) && value >= (isUnsigned ? 0 : -(2 ** (bits - 1))) && value <= high)) {
            throw new ShapeError(`a number of its rows is ${value}, and declared as ${type}`);
        }
        return type === "char" ? (value << 24) >> 24 : value;
    }

    /** A warning where there is more than the header announces; refuses rows that are longer than it says. */
    rest(numRows: number): string[] {
        if (this.place === this.all.length) return [];
        for (const word of this.all.slice(this.place)) parseNumber(word, "its rows");
        const lines = this.text.split(/\r\n?|\n/).filter((line) => line.trim());
        let found = 0;
        for (const line of lines.slice(0, numRows)) found += line.trim().split(/\s+/).length;
        if (found !== this.place) {
            throw new ShapeError(`its rows have ${this.all.length} values, where its header announces ${this.place}`);
        }
        return [`${lines.length - numRows} lines after the last element left out`];
    }
}

function numbers(data: Uint8Array, start: number, little: boolean): (type: string) => number {
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
            case "int64": return Number(view.getBigInt64(at, little));
            case "uint64": return Number(view.getBigUint64(at, little));
            case "float": return view.getFloat32(at, little);
            default: return view.getFloat64(at, little);
        }
    };
}

function rows(element: Element, next: (type: string) => number, size: number, isText: boolean): Columns {
    if (element.count * element.properties.length > size) throw new ShapeError("it announces more rows than it has");
    const columns = element.properties.map(({ type, countType }): Column => ({
        type,
        values: countType ? [] : new Float64Array(element.count),
        lengths: countType ? [] : null,
    }));
    for (let row = 0; row < element.count && columns.length; row++) {
        element.properties.forEach(({ type, countType }, i) => {
            const column = columns[i];
            if (!countType) {
                column.values[row] = next(type);
                return;
            }
            const length = next(isText ? "double" : countType);
            if (!(Number.isInteger(length) && length >= 0)) throw new ShapeError(`a list has a length of ${length}`);
            column.lengths!.push(length);
            for (let k = 0; k < length; k++) (column.values as number[]).push(next(type));
        });
    }
    return new Map(element.properties.map(({ name }, i) => [name, columns[i]]));
}
