/**
 * The counts that a Draco buffer begins with, for which its decoder takes memory; the twin of `mrd_hf.models.draco_header`.
 *
 * Source: the Draco bitstream specification, sections 4 (header), 5 (metadata) and 9 (edgebreaker), and Draco's
 * mesh_sequential_decoder.cc.
 */

import { checkCount, ShapeError } from "../shapes";

const [CLOUD, MESH, EDGEBREAKER] = [0, 1, 1];
const METADATA = 0x8000;
const HEADER_BYTES = 11;
const MAX_DEPTH = 16;

/** Refuses a buffer of more faces or points than this page reads. */
export function checkDracoCounts(data: Uint8Array): void {
    // Others are for its decoder to refuse.
    if (data.length < HEADER_BYTES || !"DRACO".split("").every((letter, i) => data[i] === letter.charCodeAt(0))) return;
    const version = 256 * data[5] + data[6];
    const [kind, method] = [data[7], data[8]];
    const rest = new Bytes(data, HEADER_BYTES);
    if ((data[9] + 256 * data[10]) & METADATA) {
        // Of attributes, each with its number, and of the shape.
        for (let left = rest.varint(); left > 0; left--) {
            rest.varint();
            rest.skipMetadata();
        }
        rest.skipMetadata();
    }
    if (kind === CLOUD) return checkCount(rest.number(4), "points");
    if (kind !== MESH) return;
    const isEdgebreaker = method === EDGEBREAKER;
    const count = () => (version >= (isEdgebreaker ? 0x0200 : 0x0202) ? rest.varint() : rest.number(4));
    if (isEdgebreaker) {
        rest.number(1);
        if (version < 0x0202) count();
        const [vertices, faces] = [count(), count()];
        checkCount(Math.max(faces, Math.floor(vertices / 3)), "triangles");
    } else {
        checkCount(count(), "triangles");
        checkCount(count(), "points");
    }
}

class Bytes {
    constructor(
        private readonly data: Uint8Array,
        private place: number,
    ) {}

    number(size: number): number {
        let value = 0;
        for (let i = 0; i < size; i++) value += (this.data[this.place + i] ?? 0) * 256 ** i;
        this.place += size;
        return value;
    }

    varint(): number {
        let value = 0;
        for (let shift = 0; shift < 64; shift += 7) {
            const byte = this.number(1);
            value += (byte & 127) * 2 ** shift;
            if (byte < 128) break;
        }
        return value;
    }

    /** Entries of names and values, and further metadata within. */
    skipMetadata(depth = 0): void {
        for (let left = this.varint(); left > 0; left--) {
            this.skip(this.number(1));
            this.skip(this.varint());
        }
        for (let left = this.varint(); left > 0; left--) {
            this.skip(this.number(1));
            if (depth > MAX_DEPTH) throw new ShapeError("its Draco metadata are nested too deep");
            this.skipMetadata(depth + 1);
        }
        this.skip(0);
    }

    private skip(count: number): void {
        this.place += count;
        if (this.place > this.data.length) throw new ShapeError("its Draco data end within their metadata");
    }
}
