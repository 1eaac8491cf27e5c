/** Compressed glTF geometry: Draco and meshopt, by the programs of that name; the twin of `mrd_hf.models.gltf_compression`. */

import { MAX_FILE_BYTES, ShapeError } from "../shapes";
import { checkDracoCounts } from "./draco_header";

export const DRACO = "KHR_draco_mesh_compression";
export const MESHOPT = ["EXT_meshopt_compression", "KHR_meshopt_compression"];

/** What `meshoptimizer/decoder` has of it. */
export interface MeshoptDecoder {
    decodeGltfBuffer(target: Uint8Array, count: number, size: number, source: Uint8Array, mode: string, filter?: string): void;
}

interface DracoStatus {
    ok(): boolean;
    error_msg(): string;
}
interface DracoObject {
    ptr: number;
}
interface DracoGeometry extends DracoObject {
    num_points(): number;
    num_faces(): number;
}
interface DracoAttribute extends DracoObject {
    num_components(): number;
    data_type(): number;
}
interface DracoDecoder {
    GetEncodedGeometryType(data: Int8Array): number;
    DecodeBufferToMesh(buffer: DracoObject, geometry: DracoGeometry): DracoStatus;
    DecodeBufferToPointCloud(buffer: DracoObject, geometry: DracoGeometry): DracoStatus;
    GetAttributeByUniqueId(geometry: DracoGeometry, id: number): DracoAttribute;
    GetTrianglesUInt32Array(geometry: DracoGeometry, size: number, to: number): boolean;
    GetAttributeDataArrayForAllPoints(
        geometry: DracoGeometry, attribute: DracoAttribute, type: number, size: number, to: number,
    ): boolean;
}
/** Draco's own program, as far as it is used here. */
export interface Draco {
    HEAPU8: Uint8Array;
    TRIANGULAR_MESH: number;
    DT_FLOAT32: number;
    DT_FLOAT64: number;
    DT_INT32: number;
    Decoder: new () => DracoDecoder;
    DecoderBuffer: new () => DracoObject & { Init(data: Int8Array, length: number): void };
    Mesh: new () => DracoGeometry;
    PointCloud: new () => DracoGeometry;
    destroy(object: unknown): void;
    _malloc(size: number): number;
    _free(place: number): void;
}

/** An attribute of a Draco buffer. */
export interface Unpacked {
    width: number;
    values: Float64Array;
    isInteger: boolean;
}

// Bytes of an element by what the elements are, and which each filter takes.
const MESHOPT_FITS: Record<string, (stride: number) => boolean> = {
    ATTRIBUTES: (stride) => stride >= 4 && stride <= 256 && stride % 4 === 0,
    TRIANGLES: (stride) => stride === 2 || stride === 4,
    INDICES: (stride) => stride === 2 || stride === 4,
};
const FILTER_FITS: Record<string, (stride: number) => boolean> = {
    NONE: () => true,
    OCTAHEDRAL: (stride) => stride === 4 || stride === 8,
    QUATERNION: (stride) => stride === 8,
    EXPONENTIAL: (stride) => stride % 4 === 0,
    COLOR: (stride) => stride === 4 || stride === 8,
};
// Of the second version, 256 equal bytes take two bits.
const MESHOPT_RATIO = 1024;

/** How many bytes what is packed in a file takes once it is unpacked, which is limited. */
export class UnpackedBytes {
    private taken = 0;

    take(bytes: number): void {
        this.taken += bytes;
        if (this.taken > MAX_FILE_BYTES) {
            throw new ShapeError(`it has ${Math.round(this.taken / 2 ** 20)} MiB once unpacked, too many. Simplify it`);
        }
    }
}

/** The bytes of a buffer view; `packed` is what the extension says of them. */
export function decodeMeshopt(meshopt: MeshoptDecoder, data: Uint8Array, packed: Record<string, any>, bytes: UnpackedBytes): Uint8Array {
    const { count = 0, byteStride: stride = 0, mode, filter = "NONE" } = packed;
    let fits = Number.isInteger(count) && Number.isInteger(stride) && count >= 0 && Boolean(own(MESHOPT_FITS, mode)?.(stride));
    fits &&= Boolean(own(FILTER_FITS, filter)?.(stride)) && (mode === "ATTRIBUTES" || filter === "NONE");
    if (!fits || (mode === "TRIANGLES" && count % 3) || count * stride > MESHOPT_RATIO * Math.max(data.length, 16)) {
        throw new ShapeError("what meshopt has packed does not fit what is said of it");
    }
    bytes.take(count * stride);
    const found = new Uint8Array(count * stride);
    try {
        meshopt.decodeGltfBuffer(found, count, stride, data, mode, filter);
    } catch (error) {
        throw new ShapeError(`its meshopt data cannot be decoded (${String((error as Error).message)})`);
    }
    return found;
}

/**
 * Indices, three a triangle, and attributes by glTF's names, of a Draco buffer.
 *
 * @param ids Draco's ids of the attributes.
 * @returns Indices only of a mesh.
 */
export function decodeDraco(
    draco: Draco, data: Uint8Array, ids: Map<string, number>, kept: UnpackedBytes,
): { indices: Float64Array | null; count: number; attributes: Map<string, Unpacked> } {
    checkDracoCounts(data);
    const made: unknown[] = [];
    const keep = <Kind>(object: Kind): Kind => (made.push(object), object);
    const taken: number[] = [];
    /** What a function writes to a place in the program's memory. */
    const written = (bytes: number, write: (place: number) => boolean): ArrayBuffer => {
        const place = draco._malloc(bytes);
        taken.push(place);
        if (!place || !write(place)) throw new Error("an attribute cannot be decoded");
        return draco.HEAPU8.slice(place, place + bytes).buffer as ArrayBuffer;
    };
    try {
        const decoder = keep(new draco.Decoder());
        const buffer = keep(new draco.DecoderBuffer());
        const bytes = new Int8Array(data.buffer, data.byteOffset, data.length);
        buffer.Init(bytes, bytes.length);
        const isMesh = decoder.GetEncodedGeometryType(bytes) === draco.TRIANGULAR_MESH;
        const geometry = keep(isMesh ? new draco.Mesh() : new draco.PointCloud());
        const status = isMesh ? decoder.DecodeBufferToMesh(buffer, geometry) : decoder.DecodeBufferToPointCloud(buffer, geometry);
        if (!status.ok() || !geometry.ptr) throw new Error(status.error_msg());
        const count = geometry.num_points();
        const attributes = new Map<string, Unpacked>();
        for (const [name, id] of ids) {
            // What is no number counts as 0 to it.
            const attribute = Number.isInteger(id) ? decoder.GetAttributeByUniqueId(geometry, id) : null;
            if (!attribute?.ptr) throw new Error(`there is no attribute ${id} for ${name}`);
            const isFloat = [draco.DT_FLOAT32, draco.DT_FLOAT64].includes(attribute.data_type());
            const type = isFloat ? draco.DT_FLOAT32 : draco.DT_INT32;
            const width = attribute.num_components();
            kept.take(Float64Array.BYTES_PER_ELEMENT * width * count);
            const stored = written(4 * width * count, (place) =>
                decoder.GetAttributeDataArrayForAllPoints(geometry, attribute, type, 4 * width * count, place),
            );
            const values = Float64Array.from(isFloat ? new Float32Array(stored) : new Int32Array(stored));
            attributes.set(name, { width, values, isInteger: !isFloat });
        }
        const size = isMesh ? 12 * geometry.num_faces() : 0;
        kept.take(2 * size);
        const corners = size ? written(size, (place) => decoder.GetTrianglesUInt32Array(geometry, size, place)) : new ArrayBuffer(0);
        return { indices: isMesh ? Float64Array.from(new Uint32Array(corners)) : null, count, attributes };
    } catch (error) {
        if (error instanceof ShapeError) throw error;
        throw new ShapeError(`its Draco data cannot be decoded (${error instanceof Error ? error.message : String(error)})`);
    } finally {
        for (const place of taken) draco._free(place);
        for (const object of made) draco.destroy(object);
    }
}

/** Of an object whose keys a file names. */
function own<Value>(table: Record<string, Value>, key: unknown): Value | undefined {
    return typeof key === "string" && Object.hasOwn(table, key) ? table[key] : undefined;
}
