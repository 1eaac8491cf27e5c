/** The container side of a glTF file: its JSON and the arrays in its buffers; the twin of `mrd_hf.models.gltf_document`. */

import { ShapeError } from "../shapes";
import type { Companions } from "./companions";
import {
    DRACO, decodeDraco, decodeMeshopt, MESHOPT, UnpackedBytes, type Draco, type MeshoptDecoder, type Unpacked,
} from "./gltf_compression";
import { checkExtensions } from "./gltf_extensions";
import { half } from "./npy";
import { withoutEnd } from "./text_ends";

export type Json = Record<string, any>;
export interface Accessor {
    count: number;
    width: number;
    values: Float64Array;
}

/** Of a list, which of its elements are read; null: all. */
export type Rows = ArrayLike<number> | null;

/** What a primitive's Draco data hold. */
export interface UnpackedPrimitive {
    /** Three a triangle; null of a cloud. */
    indices: Float64Array | null;
    attributes: Map<string, Accessor & Unpacked>;
}

type Getter = (view: DataView, at: number) => number;
// Those of int, double and half are not glTF's, but OpenGL's, which some exporters write.
const TYPES: Record<number, { size: number; read: Getter; most: number }> = {
    5120: { size: 1, read: (view, at) => view.getInt8(at), most: 127 },
    5121: { size: 1, read: (view, at) => view.getUint8(at), most: 255 },
    5122: { size: 2, read: (view, at) => view.getInt16(at, true), most: 32767 },
    5123: { size: 2, read: (view, at) => view.getUint16(at, true), most: 65535 },
    5124: { size: 4, read: (view, at) => view.getInt32(at, true), most: 2 ** 31 - 1 },
    5125: { size: 4, read: (view, at) => view.getUint32(at, true), most: 2 ** 32 - 1 },
    5126: { size: 4, read: (view, at) => view.getFloat32(at, true), most: 1 },
    5130: { size: 8, read: (view, at) => view.getFloat64(at, true), most: 1 },
    5131: { size: 2, read: (view, at) => half(view.getUint16(at, true)), most: 1 },
};
// Attributes that are read.
const USED = /^(POSITION|COLOR_0|TEXCOORD_\d|JOINTS_\d|WEIGHTS_\d|KHR_gaussian_splatting:.*)$/;
const FLOATS = [5126, 5130, 5131];
const WIDTHS: Record<string, number> = { SCALAR: 1, VEC2: 2, VEC3: 3, VEC4: 4, MAT4: 16 };
// As many as three corners of each triangle that is read; before memory is taken for them.
const MAX_ELEMENTS = 6_000_000;

export class GltfDocument {
    readonly json: Json;
    /** In bytes, with those of the files that it names and that were read so far. */
    size: number;
    private binary: Uint8Array = new Uint8Array();
    private readonly decoded = new Map<unknown, Uint8Array>();
    private meshopt: MeshoptDecoder | null = null;
    private draco: Draco | null = null;
    private readonly unpackedViews = new Map<unknown, Uint8Array>();
    private readonly unpackedPrimitives = new Map<Json, UnpackedPrimitive>();
    private readonly unpackedBytes = new UnpackedBytes();

    constructor(
        data: Uint8Array,
        readonly files: Companions,
    ) {
        this.size = data.length;
        this.json = parsed(withoutEnd(new TextDecoder().decode(isGlb(data) ? this.split(data) : data), /[\0\s]/));
        const { version = "2.0", minVersion = "2.0" }: Json = this.json.asset ?? {};
        const isOther = String(version).split(".")[0] !== "2" || !["2", "2.0"].includes(String(minVersion));
        if (isOther || (this.json.meshes && !Array.isArray(this.json.meshes))) {
            throw new ShapeError("it is glTF of another version than 2.0; convert it");
        }
        checkExtensions(this.json.extensionsRequired ?? []);
    }

    /** The JSON chunk of a GLB, whose binary chunk is kept. */
    private split(data: Uint8Array): Uint8Array {
        const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
        if (data.length < 20) throw new ShapeError("it is no GLB file");
        if (view.getUint32(4, true) !== 2) throw new ShapeError("it is glTF of another version than 2.0; convert it");
        let text: Uint8Array | null = null;
        for (let place = 12, chunks = 0; place + 8 <= data.length && chunks < 100; chunks++) {
            const length = view.getUint32(place, true);
            const kind = view.getUint32(place + 4, true);
            place += 8;
            if (kind === 0x4e4f534a && !text) {
                if (place + length > data.length) {
                    throw new ShapeError(`it ends after ${data.length} bytes, within a chunk of ${length}; it was cut off`);
                }
                text = data.subarray(place, place + length);
            } else if (kind === 0x004e4942 && !this.binary.length) {
                this.binary = data.subarray(place, place + length);
            }
            place += length;
            // Padding that the writer did not count.
            const isBinary = place + 8 <= data.length && view.getUint32(place + 4, true) === 0x004e4942;
            if (length % 4 && !isBinary) place += 4 - (length % 4);
        }
        if (!text) throw new ShapeError("it has no JSON");
        return text;
    }

    /** Gets the programs that unpack what is packed in it. */
    async prepare(): Promise<void> {
        const views: Json[] = this.json.bufferViews ?? [];
        const primitives: Json[] = (this.json.meshes ?? []).flatMap((mesh: Json) => mesh.primitives ?? []);
        try {
            if (views.some((view) => MESHOPT.some((name) => view.extensions?.[name]))) {
                this.meshopt = await this.files.decoders.meshopt();
            }
            if (primitives.some((primitive) => primitive.extensions?.[DRACO])) this.draco = await this.files.decoders.draco();
        } catch (error) {
            throw new ShapeError(`it is compressed, and what unpacks it cannot be loaded (${String((error as Error).message)})`);
        }
    }

    item(list: string, index: unknown): Json {
        const found = this.json[list]?.[index as number];
        if (!found || typeof found !== "object") throw new ShapeError(`its ${list} ${String(index)} does not exist`);
        return found;
    }

    /** Bytes of a buffer view, unpacked if need be. */
    view(index: unknown): Uint8Array {
        const known = this.unpackedViews.get(index);
        if (known) return known;
        const view = this.item("bufferViews", index);
        const packed: Json | undefined = MESHOPT.map((name) => view.extensions?.[name]).find((found) => found);
        if (!packed) return this.slice(view);
        const found = decodeMeshopt(this.meshopt!, this.slice(packed), packed, this.unpackedBytes);
        this.unpackedViews.set(index, found);
        return found;
    }

    /** What Draco has packed of a primitive; null where it has not. */
    unpacked(primitive: Json): UnpackedPrimitive | null {
        const packed: Json | undefined = primitive.extensions?.[DRACO];
        if (!packed) return null;
        let found = this.unpackedPrimitives.get(primitive);
        if (!found) {
            const isUsed = (name: string) => USED.test(name) && primitive.attributes?.[name] !== undefined;
            const names = Object.keys(packed.attributes ?? {}).filter(isUsed);
            const ids = new Map(names.map((name) => [name, packed.attributes[name] as number]));
            const { indices, count, attributes } = decodeDraco(this.draco!, this.view(packed.bufferView), ids, this.unpackedBytes);
            found = { indices, attributes: new Map([...attributes].map(([name, each]) => [name, { ...each, count }])) };
            this.unpackedPrimitives.set(primitive, found);
        }
        return found;
    }

    private slice(view: Json): Uint8Array {
        const buffer = this.buffer(view.buffer);
        const [start, length] = [view.byteOffset ?? 0, view.byteLength ?? 0];
        if (!(start >= 0 && length >= 0 && start + length <= buffer.length)) {
            throw new ShapeError(`its data ends at byte ${buffer.length} of ${start + length}; it was cut off`);
        }
        return buffer.subarray(start, start + length);
    }

    private buffer(index: unknown): Uint8Array {
        const buffer = this.item("buffers", index);
        if (buffer.uri === undefined) {
            if (index === 0) return this.binary;
            throw new ShapeError(`its buffers ${String(index)} has no data`);
        }
        if (!this.decoded.has(index)) this.decoded.set(index, this.content(buffer.uri) ?? this.missing(buffer.uri));
        return this.decoded.get(index)!;
    }

    /** What a data URI holds, or a file that was dropped; null where it was not. */
    content(uri: string): Uint8Array | null {
        if (uri.slice(0, 5).toLowerCase() === "data:") return dataUri(uri);
        for (const name of fileNames(uri)) {
            const data = this.files.find(name);
            if (!data) continue;
            this.size += data.length;
            return data;
        }
        return null;
    }

    private missing(uri: string): never {
        throw new ShapeError(`its data are in ${uri}, which was not dropped with it`);
    }

    /** How many elements an accessor has. */
    count(index: unknown): number {
        const { count = 0 } = this.item("accessors", index);
        if (!Number.isInteger(count) || count < 0) throw new ShapeError(`its accessor ${String(index)} is damaged`);
        if (count > MAX_ELEMENTS) {
            throw new ShapeError(
                `a list of it has ${count.toLocaleString("en")} elements; this page reads at most ` +
                    `${MAX_ELEMENTS.toLocaleString("en")}, those of 2,000,000 triangles. Simplify it`,
            );
        }
        return count;
    }

    /** An accessor's elements, or those of some `rows`; normalised integers as float32 in 0..1 or -1..1. */
    accessor(index: unknown, normalizes = false, rows: Rows = null): Accessor {
        const found = this.stored(index, rows);
        return this.asMeant(found, index, normalizes, !FLOATS.includes(this.item("accessors", index).componentType));
    }

    /** Elements as an accessor says that they are meant. */
    asMeant(stored: Accessor, index: unknown, normalizes: boolean, isInteger: boolean): Accessor {
        const { componentType, normalized } = this.item("accessors", index);
        if (!isInteger || !(normalized || normalizes)) return stored;
        const most = TYPES[componentType]?.most ?? 1;
        const values = stored.values.map((value) => Math.max(Math.fround(value / most), -1));
        return { ...stored, values };
    }

    /** An accessor's elements as they are stored: indices, which some exporters call normalised. */
    stored(index: unknown, rows: Rows = null): Accessor {
        const accessor = this.item("accessors", index);
        const width = WIDTHS[accessor.type];
        const type = TYPES[accessor.componentType];
        const count = this.count(index);
        if (!width || !type) throw new ShapeError(`its accessor ${String(index)} is damaged`);
        // What is replaced may be anywhere.
        const read = accessor.sparse ? null : rows;
        const values = new Float64Array((read?.length ?? count) * width);
        this.fill(values, accessor, count, width, read);
        if (accessor.sparse) this.replace(values, accessor, width);
        return read ? { count: read.length, width, values } : ofRows({ count, width, values }, rows);
    }

    private fill(values: Float64Array, accessor: Json, count: number, width: number, rows: Rows = null): void {
        if (accessor.bufferView === undefined || !count) return;
        const bytes = this.view(accessor.bufferView);
        const type = TYPES[accessor.componentType];
        if (!type) throw new ShapeError("an accessor is damaged");
        const stride = this.item("bufferViews", accessor.bufferView).byteStride || type.size * width;
        const start = accessor.byteOffset ?? 0;
        if (!(start >= 0 && start + (count - 1) * stride + type.size * width <= bytes.length)) {
            throw new ShapeError("an accessor ends beyond its data; it was cut off");
        }
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        for (let to = 0; to < (rows?.length ?? count); to++) {
            const row = rows ? rows[to] : to;
            for (let i = 0; i < width; i++) values[to * width + i] = type.read(view, start + row * stride + i * type.size);
        }
    }

    private replace(values: Float64Array, accessor: Json, width: number): void {
        const { count, indices, values: stored } = accessor.sparse;
        if (!(count >= 0 && count * width <= values.length)) throw new ShapeError("an accessor is damaged");
        const places = new Float64Array(count);
        const replacing = new Float64Array(count * width);
        this.fill(places, indices, count, 1);
        this.fill(replacing, { ...stored, componentType: accessor.componentType }, count, width);
        places.forEach((place, i) => values.set(replacing.subarray(i * width, i * width + width), place * width));
    }
}

/** Some elements of a list, in the order of `rows`. */
export function ofRows<List extends Accessor>(list: List, rows: Rows): List {
    if (!rows) return list;
    const { width } = list;
    const values = new Float64Array(rows.length * width);
    for (let to = 0; to < rows.length; to++) {
        for (let i = 0; i < width; i++) values[to * width + i] = list.values[rows[to] * width + i];
    }
    return { ...list, count: rows.length, values };
}

function isGlb(data: Uint8Array): boolean {
    return data[0] === 0x67 && data[1] === 0x6c && data[2] === 0x54 && data[3] === 0x46;
}

/** A file's JSON; what some exporters write as null is left out, but in lists; what is no number counts as null. */
function parsed(text: string): Json {
    const read = (given: string) =>
        JSON.parse(given, function (this: unknown, _, value) {
            return value === null && !Array.isArray(this) ? undefined : value;
        });
    try {
        return read(text);
    } catch {
        try {
            return read(withNulls(text));
        } catch {
            throw new ShapeError("its JSON cannot be read");
        }
    }
}

/** JSON with null for what is no number, but within strings; a regular expression would give up on long ones. */
function withNulls(text: string): string {
    const pieces: string[] = [];
    for (let place = 0; place < text.length; ) {
        const start = text.indexOf('"', place);
        const between = text.slice(place, start < 0 ? text.length : start);
        pieces.push(between.replace(/-?\b(?:NaN|Infinity)\b/g, "null"));
        if (start < 0) break;
        let end = start;
        let backslashes: number;
        do {
            end = text.indexOf('"', end + 1);
            if (end < 0) end = text.length;
            backslashes = 0;
            while (text[end - 1 - backslashes] === "\\") backslashes++;
        } while (backslashes % 2 && end < text.length);
        place = end + 1;
        pieces.push(text.slice(start, place));
    }
    return pieces.join("");
}

function dataUri(uri: string): Uint8Array {
    const comma = uri.indexOf(",");
    const payload = unquoted(uri.slice(comma + 1));
    if (!uri.slice(0, comma).toLowerCase().endsWith(";base64")) return payload;
    // Letters for URLs are understood, and the padding may be missing.
    const text = new TextDecoder().decode(payload).replace(/\s/g, "").replace(/=+$/, "").replaceAll("-", "+").replaceAll("_", "/");
    try {
        return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    } catch {
        throw new ShapeError(`a data URI, ${uri.slice(0, 30)}..., is no base64`);
    }
}

/** Names that a URI may mean: percent-encoded, as it stands, since not all exporters encode it, and without a query. */
function fileNames(uri: string): string[] {
    return [uri, uri.replace(/[#?].*/s, "")].flatMap((name) => [new TextDecoder().decode(unquoted(name)), name]);
}

/** Bytes of a text with percent-encoding; a percent sign before what is no number stands for itself. */
function unquoted(text: string): Uint8Array {
    const bytes = new TextEncoder().encode(text);
    let length = 0;
    for (let i = 0; i < bytes.length; i++) {
        const digits = bytes[i] === 0x25 ? String.fromCharCode(bytes[i + 1], bytes[i + 2]) : "";
        const isNumber = /^[0-9a-f]{2}$/i.test(digits);
        bytes[length++] = isNumber ? parseInt(digits, 16) : bytes[i];
        if (isNumber) i += 2;
    }
    return bytes.subarray(0, length);
}
