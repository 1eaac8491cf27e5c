/** The container side of a GLB: its JSON and the arrays in its buffers; the twin of `mrd_hf.models.gltf_document`. */

import { ShapeError } from "../shapes";

export type Json = Record<string, any>;
export interface Accessor {
    count: number;
    width: number;
    values: Float64Array;
}

type Getter = (view: DataView, at: number) => number;
const TYPES: Record<number, { size: number; read: Getter; most: number }> = {
    5120: { size: 1, read: (view, at) => view.getInt8(at), most: 127 },
    5121: { size: 1, read: (view, at) => view.getUint8(at), most: 255 },
    5122: { size: 2, read: (view, at) => view.getInt16(at, true), most: 32767 },
    5123: { size: 2, read: (view, at) => view.getUint16(at, true), most: 65535 },
    5125: { size: 4, read: (view, at) => view.getUint32(at, true), most: 2 ** 32 - 1 },
    5126: { size: 4, read: (view, at) => view.getFloat32(at, true), most: 1 },
};
const WIDTHS: Record<string, number> = { SCALAR: 1, VEC2: 2, VEC3: 3, VEC4: 4, MAT4: 16 };
// As many as three corners of each triangle that is read; before memory is taken for them.
const MAX_ELEMENTS = 6_000_000;
const UNREAD = ["KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression"];

export class GltfDocument {
    readonly json: Json;
    private binary: Uint8Array = new Uint8Array();

    constructor(data: Uint8Array) {
        const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
        if (data.length < 20 || view.getUint32(0, true) !== 0x46546c67) throw new ShapeError("it is no GLB file");
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
        }
        if (!text) throw new ShapeError("it has no JSON");
        try {
            // What some exporters write as null is left out, as in Python.
            this.json = JSON.parse(new TextDecoder().decode(text), (_, value) => value ?? undefined);
        } catch {
            throw new ShapeError("its JSON cannot be read");
        }
        const needed: string[] = this.json.extensionsRequired ?? [];
        const missing = needed.filter((name) => UNREAD.includes(name));
        if (missing.length) {
            throw new ShapeError(`it is compressed by ${missing.join(", ")}, which this page does not read; save it without`);
        }
    }

    item(list: string, index: unknown): Json {
        const found = this.json[list]?.[index as number];
        if (!found || typeof found !== "object") throw new ShapeError(`its ${list} ${String(index)} does not exist`);
        return found;
    }

    /** Bytes of a buffer view. */
    view(index: unknown): Uint8Array {
        const view = this.item("bufferViews", index);
        const buffer = this.buffer(view.buffer);
        const [start, length] = [view.byteOffset ?? 0, view.byteLength ?? 0];
        if (!(start >= 0 && length >= 0 && start + length <= buffer.length)) {
            throw new ShapeError(`its data ends at byte ${buffer.length} of ${start + length}; it was cut off`);
        }
        return buffer.subarray(start, start + length);
    }

    private buffer(index: unknown): Uint8Array {
        const buffer = this.item("buffers", index);
        if (buffer.uri === undefined) return this.binary;
        if (!String(buffer.uri).startsWith("data:")) throw new ShapeError("it names files beside itself; save it as one");
        return dataUri(buffer.uri);
    }

    /** An accessor's elements; normalised integers as float32 in 0..1 or -1..1. */
    accessor(index: unknown, normalizes = false): Accessor {
        const accessor = this.item("accessors", index);
        const width = WIDTHS[accessor.type];
        const type = TYPES[accessor.componentType];
        const count = accessor.count ?? 0;
        if (!width || !type || !Number.isInteger(count) || count < 0) throw new ShapeError(`its accessor ${String(index)} is damaged`);
        if (count > MAX_ELEMENTS) {
            throw new ShapeError(
                `a list of it has ${count.toLocaleString("en")} elements; this page reads at most ` +
                    `${MAX_ELEMENTS.toLocaleString("en")}, those of 2,000,000 triangles. Simplify it`,
            );
        }
        const values = new Float64Array(count * width);
        this.fill(values, accessor, count, width);
        if (accessor.sparse) this.replace(values, accessor, width);
        if ((accessor.normalized || normalizes) && accessor.componentType !== 5126) {
            for (let i = 0; i < values.length; i++) values[i] = Math.max(Math.fround(values[i] / type.most), -1);
        }
        return { count, width, values };
    }

    private fill(values: Float64Array, accessor: Json, count: number, width: number): void {
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
        for (let row = 0; row < count; row++) {
            for (let i = 0; i < width; i++) values[row * width + i] = type.read(view, start + row * stride + i * type.size);
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

export function dataUri(uri: string): Uint8Array {
    const text = decodeURIComponent(uri.slice(uri.indexOf(",") + 1)).replace(/\s/g, "").replaceAll("-", "+").replaceAll("_", "/");
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
